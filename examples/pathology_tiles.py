"""A slide and its annotations to tiles and masks, and a pyramid back. Run it in an empty folder.

The slide is drawn here; give ``itk_wsi`` a folder of your own instead. Positions are X Y, in µm or pixels.
"""

# %% A slide with tissue, and one region that somebody has outlined
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader

import itkit
from itkit.models import create_model
from itkit.pathology import Annotation, TileDataset, open_slide, write_geojson, write_pyramid

rng = np.random.default_rng(0)
picture = np.full((1200, 1600, 3), 242, np.uint8)
picture[200:1000, 300:1300] = rng.normal((196, 130, 178), 12, (800, 1000, 3)).clip(0, 255)
Path("slides").mkdir(exist_ok=True)
write_pyramid(
    Path("slides/one.ome.tif"),
    (1600, 1200),
    lambda left, top, width, height: picture[top : top + height, left : left + width],
    mpp_xy=(0.5, 0.5),
    kind="image",
)
corners = np.array([[500.0, 400.0], [1000.0, 400.0], [1000.0, 800.0], [500.0, 800.0]])  # pixels
Path("annotations").mkdir(exist_ok=True)
Path("annotations/one.geojson").write_text(write_geojson([Annotation("tumour", ((corners,),))]))

# %% Check: a resolution, levels that can be read, nothing that shows a name
assert itkit.run("itk_wsi", mode="check", source="slides").exit_code == 0

# %% Tiles of 128 µm at 1 µm per pixel, where half is tissue; masks of the same size
tiles = itkit.run("itk_wsi", mode="tile", source="slides", dest="tiles", tile_um=128, mpp=1, tissue_min=0.5)
masks = itkit.run(
    "itk_wsi", mode="mask", source="slides", annotations="annotations", dest="masks", mpp=1, labels=["1=tumour"]
)
assert tiles.exit_code == masks.exit_code == 0
print((Path("tiles") / "one" / "tiles.csv").read_text().splitlines()[0])

# %% A batch for any network: image (N, 3, Y, X) from 0 to 1, label (N, Y, X)
loader = DataLoader(TileDataset("tiles", "masks"), batch_size=4, shuffle=True)
batch = next(iter(loader))
network = create_model("unet", in_channels=3, num_classes=2, spatial_dims=2, features_per_stage=(8, 16), strides=(1, 2))
logits = network(batch["image"])
print(tuple(batch["image"].shape), tuple(batch["label"].shape), tuple(logits.shape))
assert logits.shape[2:] == batch["label"].shape[1:]

# %% Tiles (or what a network made of each) back to a pyramid that QuPath and OpenSlide read
assert itkit.run("itk_wsi", mode="stitch", source="tiles", dest="whole").exit_code == 0
(stitched,) = Path("whole").glob("*.tif*")
with open_slide(stitched) as slide:
    print(slide.levels[0])
