"""What a user writes by hand with SimpleITK.

Run: python simpleitk_loop.py headers FOLDER
     python simpleitk_loop.py resample|orient SOURCE DEST [SPACING]
"""

import sys
from pathlib import Path

import SimpleITK as sitk


def headers(folder):
    reader = sitk.ImageFileReader()
    for path in sorted(Path(folder).glob("*.nii.gz")):
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        reader.GetSize(), reader.GetSpacing()


def resampled(image, spacing, interpolator):
    size = [max(1, int(n * s / spacing + 0.5)) for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    return sitk.Resample(
        image, size, sitk.Transform(), interpolator, image.GetOrigin(), (spacing,) * 3, image.GetDirection(), 0
    )


def each(source, dest, function):
    for name in ("image", "label"):
        (Path(dest) / name).mkdir(parents=True)
        for path in sorted((Path(source) / name).glob("case_*")):
            image = function(sitk.ReadImage(str(path)), name)
            sitk.WriteImage(image, str(Path(dest) / name / f"{path.name.split('.')[0]}.mha"), useCompression=True)


job, *words = sys.argv[1:]
if job == "headers":
    headers(*words)
elif job == "resample":
    source, dest, spacing = words
    kinds = {"image": sitk.sitkLinear, "label": sitk.sitkNearestNeighbor}
    each(source, dest, lambda image, name: resampled(image, float(spacing), kinds[name]))
else:
    each(*words, lambda image, name: sitk.DICOMOrient(image, "LPI"))
