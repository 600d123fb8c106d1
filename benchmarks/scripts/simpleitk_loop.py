"""What a user writes by hand with SimpleITK.

Run: python simpleitk_loop.py headers FOLDER
     python simpleitk_loop.py resample|orient SOURCE DEST [SPACING]
     python simpleitk_loop.py lungs SOURCE DEST
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


def lungs(source, dest):
    """Threshold, components, the two largest that do not reach the sides, holes filled."""
    Path(dest).mkdir(parents=True)
    for path in sorted(Path(source).glob("case_*")):
        image = sitk.ReadImage(str(path))
        parts = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.BinaryThreshold(image, -2000, -400)))
        shapes = sitk.LabelShapeStatisticsImageFilter()
        shapes.Execute(parts)
        width = image.GetSize()[0]
        boxes = {label: shapes.GetBoundingBox(label) for label in shapes.GetLabels()}
        inner = [label for label, box in boxes.items() if box[0] > 0 and box[0] + box[3] < width][:2]
        mask = sum((sitk.Equal(parts, label) for label in inner[1:]), sitk.Equal(parts, inner[0]))
        name = path.name.split(".")[0]
        sitk.WriteImage(sitk.BinaryFillhole(mask), str(Path(dest) / f"{name}.mha"), useCompression=True)


job, *words = sys.argv[1:]
if job == "headers":
    headers(*words)
elif job == "lungs":
    lungs(*words)
elif job == "resample":
    source, dest, spacing = words
    kinds = {"image": sitk.sitkLinear, "label": sitk.sitkNearestNeighbor}
    each(source, dest, lambda image, name: resampled(image, float(spacing), kinds[name]))
else:
    each(*words, lambda image, name: sitk.DICOMOrient(image, "LPI"))
