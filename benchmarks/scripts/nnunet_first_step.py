"""nnUNetv2_train's own entry point, which ends after the first training step.

Run: python nnunet_first_step.py 1 3d_fullres 0 -device cpu
"""

import os

if __name__ == "__main__":  # loader workers import this file
    from nnunetv2.run.run_training import run_training_entry
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    step = nnUNetTrainer.train_step

    def first(trainer, batch):
        found = step(trainer, batch)
        print(f"first step: loss {found['loss']}", flush=True)
        os.killpg(0, 9)  # with the loader's workers

    nnUNetTrainer.train_step = first
    run_training_entry()
