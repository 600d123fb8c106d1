"""What a user writes by hand with TorchIO, MONAI, or the resampling of nnU-Net (at order 1, so that it is comparable).

Run: python framework_loop.py torchio|monai|nnu-net SOURCE DEST SPACING
"""

import sys
from pathlib import Path

library, source, dest, spacing = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])
cases = sorted(path.name for path in (source / "image").glob("case_*"))
for folder in ("image", "label"):
    (dest / folder).mkdir(parents=True)

if library == "torchio":
    import torchio as tio

    resample = tio.Resample(spacing)
    for case in cases:
        subject = tio.Subject(
            image=tio.ScalarImage(source / "image" / case), label=tio.LabelMap(source / "label" / case)
        )
        for name, image in resample(subject).get_images_dict(intensity_only=False).items():
            image.save(dest / name / case)
elif library == "nnu-net":
    import numpy as np
    import SimpleITK as sitk
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_spacing

    for case in cases:
        for name, order in (("image", 1), ("label", 0)):
            before = sitk.ReadImage(source / name / case)
            array = sitk.GetArrayFromImage(before)[None]
            made = resample_data_or_seg_to_spacing(
                array if name == "label" else array.astype(np.float32),  # as its preprocessing has images
                before.GetSpacing()[::-1], (spacing,) * 3, is_seg=name == "label", order=order,
            )  # fmt: skip
            after = sitk.GetImageFromArray(np.rint(made[0]).astype(array.dtype))
            after.SetSpacing((spacing,) * 3)
            sitk.WriteImage(after, dest / name / case)
else:
    import numpy as np
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, SaveImaged, Spacingd

    keys = ("image", "label")
    saves = [
        SaveImaged(key, output_dir=dest / key, output_postfix="", separate_folder=False, output_dtype=dtype,
                   print_log=False)
        for key, dtype in zip(keys, (np.int16, np.uint8), strict=True)
    ]  # fmt: skip
    chain = Compose([
        LoadImaged(keys), EnsureChannelFirstd(keys), Spacingd(keys, (spacing,) * 3, mode=("bilinear", "nearest")),
        *saves,
    ])  # fmt: skip
    for case in cases:
        chain({key: source / key / case for key in keys})
