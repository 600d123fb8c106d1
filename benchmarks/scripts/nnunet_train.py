"""Train nnU-Net's own trainer on the CPU and let it predict its validation cases, without mirroring.

Run: python nnunet_train.py SEED EPOCHS STEPS [FILE]

With FILE, the initial weights are written there, and nothing is trained. Folders come from nnU-Net's own variables; dataset 1, configuration 3d_fullres, fold 0.
"""

import random
import sys

import numpy as np
import torch

if __name__ == "__main__":  # the processes that write its predictions import this file
    seed, epochs, steps = (int(word) for word in sys.argv[1:4])
    from nnunetv2.run.run_training import get_trainer_from_args

    torch.set_num_threads(1)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what nnU-Net draws from
    torch.manual_seed(seed)
    trainer = get_trainer_from_args("1", "3d_fullres", 0, device=torch.device("cpu"))
    trainer.num_epochs = epochs  # before: the learning rate falls over the epochs that are known when it is made
    trainer.initialize()
    if len(sys.argv) > 4:
        torch.save(trainer.network.state_dict(), sys.argv[4])
        sys.exit()
    trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = steps, 1
    trainer.run_training()
    trainer.inference_allowed_mirroring_axes = None
    trainer.perform_actual_validation()
