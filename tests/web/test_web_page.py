"""The page of `itkit-web` in a real browser: from a form to a finished output on a real CT."""

import json
import os
import re
import shutil
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pytest
from helpers import held
from PIL import Image
from playwright.sync_api import expect, sync_playwright

import itkit
from itkit.core.geometry import Geometry
from itkit.core.thumbnail import png
from itkit.engine.pipeline import read_pipeline
from itkit.forms.command import Command
from itkit.io.dcm_toolkit import write_series
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.report import pages
from itkit.testing.phantoms import noise
from web.servers import TOKEN, serving

pytestmark = [pytest.mark.net, pytest.mark.slow]
WITHOUT_GPU = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
"""WebGL in software."""
LONGEST_MS = 90_000
"""What has not come by then never comes; a machine that does much else is slow."""
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TORSO = Path(itkit.__file__).parent / "data" / "torso"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A dataset with two crops of a real CT, and a file that is none."""
    folder = tmp_path_factory.mktemp("page") / "root"
    for kind in ("image", "label"):
        (folder / "ct" / kind).mkdir(parents=True)
        whole = read_volume(TORSO / f"{kind}.nii.gz", kind)
        for number, start in enumerate((20, 50)):
            part = whole.array_zyx[start : start + 40, 10:90, 5:105].copy()
            crop = whole.with_array(part, whole.geometry.crop((start, 10, 5), part.shape))
            write_volume(crop, folder / "ct" / kind / f"case_{number}.mha")
        (folder / "ct" / kind / "broken.mha").write_bytes(b"NDims = 3\n")
    shutil.copy(TORSO / "dataset.json", folder / "ct")
    return folder


@pytest.fixture(scope="module")
def web(root):
    with serving(root, root.parent / "state") as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    assert CHROMIUM, "these tests need Chromium or Chrome: make browser, or install it"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*(["--no-sandbox"] if os.name == "posix" else []), *WITHOUT_GPU]
        )
        yield opened
        opened.close()


@pytest.fixture
def page(browser, web):
    context = browser.new_context(base_url=web.origin, viewport={"width": 1200, "height": 900})
    context.set_default_timeout(LONGEST_MS)
    expect.set_options(timeout=LONGEST_MS)
    page = context.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)
    page.goto(f"/?token={TOKEN}")
    yield page
    context.close()
    assert not faults


def fill(page, **values):
    page.wait_for_selector("#form")
    for name, value in values.items():
        boxes = page.locator(f"[name={name}]")
        if boxes.first.evaluate("element => element.tagName") == "SELECT":
            boxes.first.select_option(value)
        else:
            for number, text in enumerate(value if isinstance(value, tuple) else (value,)):
                boxes.nth(number).fill(text)


def drawn(page):
    """Wait until what was asked for so far is drawn: pages draw in the next frame."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def shades(page, plane):
    """Return how many pixels of a plane are grey, coloured and black, and how many greys there are."""
    return page.locator(f"[data-plane={plane}] canvas").evaluate(
        """canvas => {
          const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          const found = { grey: 0, coloured: 0, black: 0 }, greys = new Set();
          for (let at = 0; at < data.length; at += 4) {
            const [r, g, b] = data.subarray(at, at + 3);
            if (r + g + b < 12) found.black++;
            else if (Math.max(r, g, b) - Math.min(r, g, b) < 6) { found.grey++; greys.add(r); }
            else found.coloured++;
          }
          return { ...found, greys: greys.size };
        }"""
    )


def test_the_token_leaves_the_address_and_operations_are_found(page, web):
    expect(page).to_have_url(re.compile(rf"^{web.origin}/(#/)?$"))
    expect(page.get_by_role("link", name=re.compile("^Resample"))).to_be_visible()
    page.get_by_role("searchbox").fill("spacing grid")
    expect(page.locator("#operations .choice")).to_have_count(1)
    page.get_by_role("searchbox").fill("no such thing")
    expect(page.get_by_text("No operation answers this search")).to_be_visible()
    assert page.evaluate("document.cookie") == ""


def test_a_form_a_plan_a_run_its_result_and_both_grids(page, root):
    page.goto("/#/op/itk_resample")
    fill(page, mode="dataset", source="ct", dest="out", spacing=("6", "x"))
    expect(page.locator("#field-spacing-problem")).to_contain_text("Spacing Y")
    for at, is_wrong in enumerate(("false", "true", "false")):
        expect(page.locator("[name=spacing]").nth(at)).to_have_attribute("aria-invalid", is_wrong)
    edges = page.locator("[name=spacing]").evaluate_all("boxes => boxes.map(box => getComputedStyle(box).borderColor)")
    assert edges[0] == edges[2] != edges[1]
    fill(page, spacing=("6", "6", ""))
    expect(page.locator("#field-spacing-problem")).to_be_hidden()
    expect(page.locator("#command")).to_contain_text("itk_resample dataset")
    page.locator("#plan").click()
    planned = page.locator("#plan_table tbody tr")
    expect(planned).to_have_count(3)
    expect(planned.first).to_contain_text("would be done")
    assert not (root / "out").exists()

    page.locator("#run").click()
    expect(page.locator("#state")).to_have_text("failed")
    expect(page.locator("#cases tbody tr")).to_have_count(3)
    expect(page.locator("#cases tbody tr.bad")).to_contain_text("broken")
    page.locator("#only-bad").check()
    expect(page.locator("#cases tbody tr:visible")).to_have_count(1)
    page.locator("#only-bad").uncheck()
    expect(page.locator("#numbers")).to_contain_text("3 of 3 cases")
    expect(page.locator(".reports")).to_contain_text("resample_configs.json")

    page.get_by_role("link", name="View case_1").click()
    page.wait_for_selector(".viewer[data-ready]")
    seen = shades(page, "axial")
    assert min(seen["grey"], seen["coloured"]) > 2000
    rows = page.locator("#geometry-table tr")
    expect(rows.nth(2)).to_contain_text("6 \u00d7 6 \u00d7 3")
    expect(rows.nth(2)).to_have_class("differs")
    expect(page.locator("#legend")).to_contain_text("spleen")
    voxels = read_volume(root / "out" / "image" / "case_1.mha")
    middle = tuple(size // 2 for size in voxels.shape_zyx)
    expect(page.locator("#readout")).to_contain_text(f"value: {voxels.array_zyx[middle]}")
    expect(page.locator("#readout")).to_contain_text("voxel Z Y X: " + " ".join(map(str, middle)))


def test_a_series_of_a_dicom_folder_is_chosen(page, root):
    for number, depth in enumerate((5, 7), start=1):
        scan = noise(Geometry((depth, 16, 18), (2.0, 1.0, 1.0)), seed=depth)
        write_series(scan, root / "scans" / f"{number}", description=f"<i>{number}</i>", series_number=number)
    page.goto("/#/view?path=scans")
    rows = page.locator("#series tbody tr")
    expect(rows).to_have_count(2)
    rows.get_by_role("link", name="<i>2</i>").click()
    page.wait_for_selector(".viewer[data-ready]")
    expect(page.locator("#geometry-table")).to_contain_text("7 \u00d7 16 \u00d7 18")


def test_planes_are_the_right_way_up_and_keys_move_the_crosshair(page, root):
    volume = read_volume(root / "ct" / "image" / "case_0.mha")
    page.goto("/#/view?path=ct/image/case_0.mha")
    page.wait_for_selector(".viewer[data-ready]")
    z, y, x = (size // 2 for size in volume.shape_zyx)
    axial = page.locator("[data-plane=axial] canvas")
    axial.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "PageUp"):
        axial.press(key)
    # axes point to R A S here: in the radiological view, right of the picture is the patient's left (x falls)
    assert volume.geometry.orientation == "RAS"
    at = (z + 1, y + 1, x - 2)
    expect(page.locator("#readout")).to_contain_text(f"voxel Z Y X: {at[0]} {at[1]} {at[2]}")
    point = " ".join(f"{round(value, 1):g}" for value in volume.geometry.point_xyz(at))
    expect(page.locator("#readout")).to_contain_text(f"LPS: {point} mm")
    expect(page.locator("#readout")).to_contain_text(f"value: {volume.array_zyx[at]}")
    drawn(page)
    before = shades(page, "coronal")
    page.get_by_label("Window width").fill("20000")
    page.get_by_label("Window width").press("Enter")
    page.locator("#outline").check()
    drawn(page)
    after = shades(page, "coronal")
    assert after["greys"] < before["greys"] / 2
    assert after["coloured"] < before["coloured"]


def test_a_projection_stands_beside_the_planes_and_moves_the_crosshair(page, root):
    volume = read_volume(root / "ct" / "image" / "case_0.mha")
    page.goto("/#/view?path=ct/image/case_0.mha")
    page.wait_for_selector(".viewer[data-projected]")
    page.get_by_label("Window level").fill("300")
    page.get_by_label("Window width").fill("1400")
    page.get_by_label("Window width").press("Enter")
    page.locator("#cross").click()
    drawn(page)
    brightest = volume.array_zyx.max(axis=1).clip(-400, 1000)
    expected = (brightest + 400) / 1400 * 255
    seen = page.locator("[data-plane=projection] canvas").evaluate(
        """canvas => {
          const { width, height } = canvas;
          const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
          const bright = [];
          for (let at = 0; at < width * height; at++) {
            if (data[4 * at] > 12) bright.push([at % width, Math.floor(at / width), data[4 * at]]);
          }
          const mean = which => bright.reduce((sum, one) => sum + one[which], 0) / bright.length;
          const upper = bright.filter(one => one[1] < height / 2);
          return { mean: mean(2), upper: upper.reduce((sum, one) => sum + one[2], 0) / upper.length };
        }"""
    )
    shown = expected[expected > 12]
    assert seen["mean"] == pytest.approx(shown.mean(), rel=0.05)
    top = expected[expected.shape[0] // 2 :]  # axes point to R A S: superior is drawn at the top
    assert seen["upper"] == pytest.approx(top[top > 12].mean(), rel=0.06)
    box = page.locator("[data-plane=projection] canvas").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)
    expect(page.locator("#readout")).not_to_contain_text(f"voxel Z Y X: {volume.shape_zyx[0] // 2} ")
    expect(page.locator("#readout")).to_contain_text(re.compile(f"voxel Z Y X: \\d+ {volume.shape_zyx[1] // 2} "))


def test_the_voxels_of_the_3d_view_stand_where_the_file_has_them(page, root):
    """The NIfTI file that the browser makes is read by nibabel."""
    volume = read_volume(root / "ct" / "image" / "case_0.mha")
    tilt = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, -1.0]])
    grid = Geometry(volume.shape_zyx, (2.5, 1.5, 0.75), (3.0, -4.0, 50.0), tuple(tilt.ravel()))
    write_volume(volume.with_array(volume.array_zyx, grid), root / "tilted.mha")
    text = page.evaluate(
        """async () => {
          const { Volume } = await import("/static/volume.js"), { nifti } = await import("/static/rendering.js");
          const volume = await Volume.open("tilted.mha");
          await volume.load("image");
          return Array.from(new Uint8Array(nifti(volume)), one => String.fromCharCode(one)).join("");
        }"""
    )
    found = nibabel.Nifti1Image.from_bytes(text.encode("latin-1"))
    assert np.array_equal(found.get_fdata().transpose(2, 1, 0), volume.array_zyx)
    for index in ((0, 0, 0), (7, 20, 90)):
        x, y, z = grid.point_xyz(index)
        assert nibabel.affines.apply_affine(found.affine, index[::-1]) == pytest.approx((-x, -y, z), abs=1e-4)


def test_a_3d_view_is_drawn_without_a_network(page, root):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/#/view?path=ct/image/case_0.mha")
    page.wait_for_selector(".viewer[data-ready]")
    page.locator("#show-3d").click()
    page.wait_for_selector("[data-plane=rendering][data-ready]")
    drawn(page)
    picture = Image.open(BytesIO(page.locator("#rendering").screenshot())).convert("HSV")
    hue, saturation, value = (np.asarray(part) for part in picture.split())
    assert (value > 60).mean() > 0.05, "the body"
    assert len(np.unique(hue[(saturation > 80) & (value > 60)] // 32)) >= 4, "organs in their colours"
    assert (value < 10).mean() > 0.2, "nothing around it"
    assert any(url.endswith("/static/niivue.js") for url in asked)
    assert all(url.startswith(page.url.partition("/#")[0]) or url.startswith(("data:", "blob:")) for url in asked)
    page.locator("#show-3d").click()
    expect(page.locator("#rendering")).to_have_count(0)


def test_a_chain_is_proposed_saved_opened_and_stopped_as_one(page, root, tmp_path, monkeypatch):
    page.goto("/#/")
    page.get_by_role("link", name=re.compile("^A dataset with")).click()
    expect(page.locator("#run-chain")).to_be_disabled()
    page.locator("#start-source").fill("ct")
    page.locator("#start-work").fill("chained")
    expect(page.locator("#run-chain")).to_be_enabled()
    expect(page.locator("#chain > li")).to_have_count(4)
    with page.expect_download() as saved:
        page.locator("#save-pipeline").click()
    saved.value.save_as(tmp_path / "pipeline.toml")
    steps = read_pipeline(tmp_path / "pipeline.toml")
    assert [step.operation.name for step in steps] == ["itk_check", "itk_orient", "itk_resample", "itk_stats"]
    page.get_by_role("button", name=re.compile("^Open: Bring all cases")).click()
    expect(page.locator("[name=spacing]").nth(0)).to_have_value("1.5")
    page.go_back()
    expect(page.locator("#start-work")).to_have_value("chained")
    page.locator("#start-source").fill("../")
    expect(page.get_by_role("alert")).to_contain_text("below the root")
    expect(page.locator("#run-chain")).to_be_disabled()
    page.locator("#start-source").fill("ct")
    words = Command.words
    monkeypatch.setattr(Command, "words", lambda self, **how: held(words(self, **how), tmp_path / "never"))
    page.locator("#run-chain").click()
    rows = page.locator("#jobs tbody tr")
    expect(rows.nth(3)).to_contain_text("itk_check")
    expect(rows.nth(0)).to_contain_text("waiting")
    rows.nth(3).get_by_role("link").click()
    page.locator("#stop").click()
    expect(page.locator("#state")).to_have_text("stopped")
    page.goto("/#/jobs")
    for number in range(3):
        expect(rows.nth(number)).to_contain_text("stopped")
    assert not (root / "chained").exists()


def test_a_preset_fills_the_form(page, tmp_path):
    (tmp_path / "mine.toml").write_text('mode = "image"\nspacing = [3, -1, 1.5]\nworkers = 3')
    page.goto("/#/op/itk_resample")
    fill(page, dest="of before")
    page.locator("#preset").set_input_files(tmp_path / "mine.toml")
    expect(page.locator("[name=mode]")).to_have_value("image")
    expect(page.locator("[name=spacing]").nth(2)).to_have_value("1.5")
    expect(page.locator("[name=spacing]").nth(1)).to_have_value("")
    expect(page.locator("[name=dest]")).to_have_value("")
    (tmp_path / "mine.toml").write_text("spacin = 1")
    page.locator("#preset").set_input_files(tmp_path / "mine.toml")
    expect(page.locator(".toast")).to_contain_text("did you mean")


def test_a_saved_pipeline_is_found_among_the_files_and_run(page, root):
    (root / "chain.toml").write_text(
        '[[step]]\nrun = "itk_orient"\nparams = { source = "ct", dest = "by_file", orient = "RAS" }\n'
    )
    page.goto("/#/files")
    page.get_by_role("link", name="chain.toml").click()
    expect(page.locator("#chain > li")).to_contain_text("itk_orient")
    expect(page.locator("#start-work")).to_be_hidden()
    page.locator("#run-chain").click()
    expect(page.locator("#jobs tbody tr").nth(0)).to_contain_text("by_file")
    page.goto("/#/start/pipeline")
    expect(page.locator("#run-chain")).to_be_disabled()
    page.locator("#start-source").fill("ct/dataset.json")
    expect(page.get_by_role("alert")).to_contain_text("dataset.json")


def test_a_training_is_watched_while_it_writes(page, root):
    run = root / "run"
    (run / "overlays").mkdir(parents=True)
    line = {"epoch": 0, "learning_rate": 0.1, "seconds": 1.0}
    steps = [json.dumps({"step": step, "train_loss": 1 / step, **line}) + "\n" for step in range(1, 61)]
    (run / "metrics.jsonl").write_text("".join(steps[:40]))
    page.goto("/#/files/run")
    page.get_by_role("link", name=re.compile("^Curves")).click()
    expect(page.locator("#train-state")).to_contain_text("step 40")
    expect(page.locator(".chart polyline")).to_have_count(2)
    with (run / "metrics.jsonl").open("a") as file:
        file.write("".join(steps[40:]))
        file.write(json.dumps({"step": 60, "epoch": 0, "val_dice": 0.75, "classes": {"liver": {"dice": 0.75}}}) + "\n")
    (run / "overlays" / "new").write_bytes(png(np.full((40, 60, 3), 200, np.uint8)))
    (run / "overlays" / "new").rename(run / "overlays" / "case_1.png")  # whole or not there, as a training writes it
    expect(page.locator("#train-state")).to_contain_text("best Dice 0.7500 after step 60")
    expect(page.get_by_role("img", name=re.compile("Dice of the validation"))).to_have_attribute(
        "aria-label", re.compile("mean 0.75, liver 0.75")
    )
    expect(page.get_by_role("button", name="case_1")).to_be_visible()
    page.wait_for_function("document.getElementById('picture').naturalWidth === 60")
    page.goto("/#/train")
    page.get_by_role("link", name=re.compile("^Train")).nth(1).click()
    page.wait_for_selector("#form")
    expect(page.locator("#plan")).to_be_hidden()
    expect(page.locator("[name=progress]")).to_have_count(0)
    page.locator("#run").click()
    expect(page.locator("#field-plan-problem")).to_contain_text("expected a plan")


def test_a_job_is_stopped_and_goes_on_without_its_page(page, browser, web):
    page.goto("/#/op/itk_resample")
    fill(page, mode="image", source="ct/image", dest="big", spacing=("0.2", "0.3", "0.4"))
    page.locator("#run").click()
    expect(page.locator("#state")).to_have_text("running")
    page.goto("/#/jobs")
    other = page.context.new_page()  # another tab sees the same job, and stops it
    other.goto("/#/jobs")
    expect(other.locator("#jobs tbody tr").first).to_contain_text("running")
    page.close()
    other.locator("#jobs tbody a").first.click()
    other.locator("#stop").click()
    expect(other.locator("#state")).to_have_text("stopped")
    expect(other.locator("#stop")).to_be_hidden()
    value, most = (float(other.locator("#progress").get_attribute(name)) for name in ("value", "max"))
    assert value < most, "not all was finished"
    assert web.get("/api/jobs").json()[0]["state"] == "stopped"


def test_deleting_asks_for_the_name_of_the_folder(page, root):
    shutil.copytree(root / "ct", root / "doomed", ignore=shutil.ignore_patterns("broken*"))
    page.goto("/#/op/itk_check")
    fill(page, mode="delete", source="doomed", min_size=("1000", "1", "1"))
    expect(page.locator("#run")).to_contain_text("deletes")
    page.locator("#run").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Delete and run")).to_be_disabled()
    dialog.get_by_role("textbox").fill("doome")
    expect(dialog.get_by_role("button", name="Delete and run")).to_be_disabled()
    dialog.get_by_role("textbox").fill("doomed")
    dialog.get_by_role("button", name="Delete and run").click()
    expect(page.locator("#state")).to_have_text("done")
    assert not list((root / "doomed" / "image").iterdir())


def test_folders_are_picked_and_nothing_outside_is_offered(page, root):
    (root / "way-out").symlink_to(root.parent)
    page.goto("/#/op/itk_orient")
    page.wait_for_selector("#form")
    page.get_by_role("button", name=re.compile("browse")).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="ct")).to_be_visible()
    expect(dialog.get_by_text("way-out")).to_have_count(0)
    dialog.get_by_role("button", name="ct").click()
    dialog.get_by_role("button", name="image").click()
    dialog.get_by_role("button", name="Use this folder").click()
    expect(page.locator(".picker input").first).to_have_value("ct/image")


def test_operations_draw_their_forms(page, web):
    listed = web.get("/api/operations").json()
    for one in (*listed[1:20:2], *listed[-3:]):
        page.goto(f"/#/op/{one['name']}")
        expect(page.get_by_role("heading", level=1)).to_have_text(one["title"])
        form = web.get(f"/api/operations/{one['name']}").json()["form"]
        fields = form["fields"]
        drawn = page.locator(".fields").first.locator(".field")
        expect(drawn).to_have_count(sum(not field["is_consent"] for field in fields))
        headings = page.locator(".fields").first.locator("legend").all_text_contents()
        assert headings == [title for title in form["groups"] if title], "the order of the window, too"


def test_a_file_of_several_channels_says_which_one_is_shown(page, root):
    image = read_volume(root / "ct" / "image" / "case_0.mha")
    for name, count in (("two", 2), ("three", 3)):
        channels = np.stack([image.array_zyx + 100 * channel for channel in range(count)], -1)
        write_volume(image.with_array(channels), root / f"{name}.mha")
    page.goto("/#/view?path=two.mha&before=three.mha")
    page.wait_for_selector(".viewer[data-ready]")
    expect(page.locator(".viewer .note").get_by_text("channel 1 of 2 is shown", exact=True)).to_be_visible()
    expect(page.locator("#geometry")).to_contain_text("three.mha: channel 1 of 3 is shown")
    expect(page.locator("#readout")).to_contain_text(
        f"value: {image.array_zyx[tuple(size // 2 for size in image.shape_zyx)]}"
    )


def test_names_of_files_never_become_markup(page, root):
    name = "<img src=x onerror=document.title='owned'>"
    (root / name).mkdir()
    page.goto("/#/files")
    expect(page.get_by_text(name)).to_be_visible()
    assert page.title() != "owned"


def test_an_address_that_was_cut_short_is_told(page):
    page.goto("/#/op/itk_res%C3%A")
    expect(page.get_by_role("alert")).to_contain_text("no operation 'itk_res%C3%A'")


def test_a_page_that_was_left_before_it_came_takes_no_place(page):
    held_back = []
    page.route("**/api/jobs/late", lambda route: held_back.append(route))
    with page.expect_request("**/api/jobs/late"):
        page.goto("/#/job/late")
    page.goto("/#/files")
    expect(page.get_by_role("heading", level=1)).to_have_text("Files")
    with page.expect_response("**/api/jobs/late"):
        held_back[0].fulfill(status=404, json={"detail": "no such job"})
    drawn(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Files")


def test_it_fits_a_phone_and_works_in_the_dark(browser, web):
    context = browser.new_context(
        base_url=web.origin, viewport={"width": 360, "height": 740}, color_scheme="dark", has_touch=True
    )
    context.set_default_timeout(LONGEST_MS)
    page = context.new_page()
    page.goto(f"/?token={TOKEN}")
    for place, title in (
        ("/#/", "Operations"),
        ("/#/op/itk_resample", "Resample"),
        ("/#/op/itk_enhance", "Enhance"),
        ("/#/files/ct/image", "Files"),
        ("/#/jobs", "Jobs"),
        ("/#/view?path=ct/image/case_0.mha", "case_0.mha"),
    ):
        page.goto(place)
        expect(page).to_have_title(re.compile(f"^{title}"))
        if title == "case_0.mha":
            page.wait_for_selector(".viewer[data-projected]")
        drawn(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, place
        cut = page.locator(".stacks").evaluate_all(
            "all => all.filter(one => one.scrollWidth > one.parentElement.clientWidth).length"
        )
        assert cut == 0, place  # rows of tables stand below each other, and nothing is out of sight
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 29)"
    context.close()


def test_the_page_knows_no_parameter_by_name(web):
    names = {
        field["name"]
        for one in web.get("/api/operations").json()
        for field in web.get(f"/api/operations/{one['name']}").json()["form"]["fields"]
        if "_" in field["name"]
    }
    folder = Path(itkit.__file__).parent / "web"
    sources = [*folder.glob("*.py"), *(path for path in folder.glob("static/*.js") if path.name != "niivue.js")]
    assert len(names) > 30
    for path in sources:
        words = set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
        assert not words & names - {"max_memory", "password_file"}, path


def test_a_table_of_a_report_sorts_numbers_with_the_infinite_ones_at_an_end(browser):
    cells = ["10.5", "inf", pages.MISSING, "-inf", "9", "2e+16"]
    page = browser.new_page()
    rows = [[f"c{at}", cell] for at, cell in enumerate(cells)]
    page.set_content(pages.page("a", "b", [pages.table(["case", "mm"], rows)]))
    shown = page.locator("tbody td:nth-child(2)")
    page.get_by_role("button", name="mm").click()
    assert shown.all_text_contents() == ["-inf", "9", "10.5", "2e+16", "inf", pages.MISSING]
    page.get_by_role("button", name="mm").click()
    assert shown.all_text_contents() == ["inf", "2e+16", "10.5", "9", "-inf", pages.MISSING]
    page.close()
