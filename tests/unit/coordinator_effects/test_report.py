"""A job's report and its TensorBoard events: what is written beside the artifact, what `musher report` prints, and what a browser
makes of it, pixel by pixel."""
import math
import re
import shutil
import struct
import subprocess
import unittest

import numpy as np
from PIL import Image

from coordinator_testing import CoordinatorTest

PLOT = (0xF6, 0xF8, 0xFB)  # the colours of coordinator/chart.cpp
TRAIN = (0x00, 0x72, 0xB2)
PARTS = [(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73), (0xCC, 0x79, 0xA7), (0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9)]
SHARES = [0.10, 0.30, 0.40, 0.10, 0.05, 0.05]  # of a step's time, as the fake worker tells it
EPOCHS = 6


def crc32c(data):
    """CRC-32C bit by bit, from its definition."""
    rest = 0xFFFFFFFF
    for byte in data:
        rest ^= byte
        for _ in range(8):
            rest = (rest >> 1) ^ (0x82F63B78 if rest & 1 else 0)
    return rest ^ 0xFFFFFFFF


def records(data):
    """Of a TFRecord file, whose checksums must be right."""
    def check(piece, stored):
        checksum = crc32c(piece)
        masked = ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
        if masked != struct.unpack("<I", stored)[0]:
            raise ValueError("a checksum is wrong")

    at = 0
    while at < len(data):
        check(data[at:at + 8], data[at + 8:at + 12])
        length, = struct.unpack("<Q", data[at:at + 8])
        body = data[at + 12:at + 12 + length]
        check(body, data[at + 12 + length:at + 16 + length])
        yield body
        at += 16 + length


def fields(message):
    """{number: value} of a protobuf message in which no field repeats."""
    found, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            found[number] = varint()
            continue
        size = {1: 8, 5: 4}.get(kind) or varint()
        found[number] = message[at:at + size]
        at += size
    return found


def scalars(data):
    """[(tag, step, value, wall time)] of an event file."""
    result = []
    for number, body in enumerate(records(data)):
        event = fields(body)
        if number == 0:
            assert event[3] == b"brain.Event:2", event
            continue
        value = fields(fields(event[5])[1])
        result.append((value[1].decode(), event.get(2, 0), struct.unpack("<f", value[2])[0], struct.unpack("<d", event[1])[0]))
    return result


def is_color(pixels, color):
    return (pixels == np.array(color, np.uint8)).all(axis=-1)


class Report(CoordinatorTest):
    def trained(self):
        self.serve()
        self.submit("dogs", epochs=EPOCHS)
        self.finished("dogs", "Completed")
        return self.folder / "out/dogs/output"

    def browse(self, page, width=1000, height=2600):
        """The page's pixels, [height, width, 3], as a browser without network shows it."""
        browser = shutil.which("chromium")
        self.assertTrue(browser, "chromium is missing: run ./launch/setup")
        picture = self.folder / "page.png"
        done = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1",
             "--force-color-profile=srgb", "--disable-lcd-text", "--host-resolver-rules=MAP * ~NOTFOUND",
             f"--user-data-dir={self.folder}/browser", f"--window-size={width},{height}", f"--screenshot={picture}", page.as_uri()],
            env=self.environment, capture_output=True, text=True, timeout=120)
        self.assertTrue(picture.exists(), done.stderr)
        return np.array(Image.open(picture).convert("RGB"))

    def test_beside_the_artifact(self):
        folder = self.trained()
        files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        self.assertEqual(files[0], "report.html", files)
        self.assertRegex(files[1], r"^tensorboard/events\.out\.tfevents\.\d{10}\.musher$")
        self.assertEqual(len(files), 2, "the fake worker writes no model")
        page = (folder / "report.html").read_text()
        for piece in ("dogs", "Completed", "epoch 6", "host localhost", "rank 0, 1", "Where the time of a step went", "each once"):
            self.assertIn(piece, page)

        events = scalars((folder / files[1]).read_bytes())
        rows = [line.split(",") for line in self.musher("metrics", "dogs", "--csv", code=0).stdout.splitlines()[1:]]
        self.assertEqual([(tag, step) for tag, step, _, _ in events], [(row[1], int(row[4])) for row in rows])
        for (_, _, value, _), row in zip(events, rows):
            self.assertAlmostEqual(value, float(row[2]), places=5)
        self.assertEqual(len([tag for tag, *_ in events if tag == "train:loss"]), EPOCHS)
        broken = bytearray((folder / files[1]).read_bytes())
        broken[-6] ^= 1
        self.assertRaises(ValueError, scalars, bytes(broken))

    def test_asked_for(self):
        folder = self.trained()
        printed = self.musher("report", "dogs", code=0).stdout
        made = lambda page: re.sub(r"Made by Musher at [^<]*", "", page)
        self.assertEqual(made(printed), made((folder / "report.html").read_text()))
        self.musher("report", "dogs", "--out", self.folder / "page.html", code=0)
        self.assertEqual(made((self.folder / "page.html").read_text()), made(printed))
        self.assertIn("nobody", self.musher("report", "nobody", code=2).stderr)
        self.assertIn("can't be written", self.musher("report", "dogs", "--out", self.folder / "no/page.html", code=2).stderr)

    def test_of_a_job_that_runs_or_has_not_begun(self):
        self.serve()
        self.submit_held("runs", epochs=2)
        self.submit("waits")
        self.assertIn("InProgress", self.musher("report", "runs", code=0).stdout)
        self.assertIn("No metrics", self.musher("report", "waits", code=0).stdout)
        self.gate.touch()
        self.finished("waits", "Completed")

    def test_a_report_that_cant_be_written_fails_no_job(self):
        self.serve()
        (self.folder / "out/blocked/output/report.html").mkdir(parents=True)
        self.submit("blocked", epochs=1)
        self.finished("blocked", "Completed")
        self.assertIn("the report was not written", self.musher("status", "blocked").stdout)

    def plot_of_first_chart(self, pixels):
        """(left, top, right, bottom): its first and its last pixels."""
        background = is_color(pixels, PLOT)
        rows = np.flatnonzero(background.sum(axis=1) > 400)
        columns = np.flatnonzero(background[rows[0]:rows[0] + 190].sum(axis=0) > 100)
        left, right = columns[0], columns[-1]
        white = (pixels[:, right - 30] == 255).all(axis=-1)  # where the curve is low
        top = bottom = rows[0]
        while not white[top - 1]:
            top -= 1
        while not white[bottom + 1]:
            bottom += 1
        return left, top, right, bottom

    def test_the_curve_is_where_it_should_be(self):
        page = self.trained() / "report.html"
        text = page.read_text()
        found = re.search(r'aria-label="loss" data-x="(\S+) (\S+)" data-y="(\S+) (\S+)"', text)
        low_x, high_x, low_y, high_y = map(float, found.groups())
        self.assertEqual((low_x, low_y, high_y), (0, 0, 1), "round ends that hold 1/6 to 1")
        pixels = self.browse(page)
        left, top, right, bottom = self.plot_of_first_chart(pixels)
        drawn = is_color(pixels, TRAIN)

        def place(x, y):
            return (left + (x - low_x) / (high_x - low_x) * (right + 1 - left), bottom + 1 - (y - low_y) / (high_y - low_y) * (bottom + 1 - top))

        points = [(step, 1 / (step + 1)) for step in range(EPOCHS)]  # as the fake worker tells it
        for before, after in zip(points, points[1:]):
            for part in np.linspace(0, 1, 9):
                x, y = place(*(a + (b - a) * part for a, b in zip(before, after)))
                column = np.flatnonzero(drawn[top:bottom + 1, min(int(x), right)]) + top + 0.5
                self.assertTrue(len(column), f"nothing is drawn at step {before[0] + part:.2f}")
                self.assertLess(abs(column - y).min(), 2, f"at step {before[0] + part:.2f}")
                slope = abs(place(*after)[1] - place(*before)[1]) / (place(*after)[0] - place(*before)[0])
                self.assertLess(np.ptp(column), 8 + 2 * math.hypot(1, slope), "a line, not a surface")
        last = math.ceil(place(*points[-1])[0]) + 4
        self.assertFalse(drawn[top:bottom + 1, last:right + 1].any(), "nothing behind the last point")

    def test_the_parts_of_a_step_have_the_lengths_that_they_should(self):
        pixels = self.browse(self.trained() / "report.html")
        counts = np.stack([is_color(pixels, color).sum(axis=1) for color in PARTS], axis=1)
        rows = [row for row in counts if row[1] > 20 and row[2] > 20]  # bars, not legends
        self.assertGreater(len(rows), EPOCHS * 10)
        for row in rows:
            for share, wanted in zip(row / row.sum(), SHARES):
                self.assertAlmostEqual(share, wanted, delta=0.02)


del CoordinatorTest  # its tests are another module's

if __name__ == "__main__":
    unittest.main()
