"""Draw a confusion matrix as a PNG file, with nothing but Python's own library.

In comes a square table of counts (row: what it is, column: what it was taken for), labels and examples of mistakes; out
goes the file. A picture is a `bytearray` of RGB pixels; letters come from a 5 x 7 bitmap font of the characters needed.
"""

import struct
import zlib

FONT = {  # seven rows of five pixels, as the five low bits of a number
    "0": "0e11131519110e", "1": "040c040404040e", "2": "0e11010204081f", "3": "1f02040201110e", "4": "02060a121f0202",
    "5": "1f101e0101110e", "6": "0608101e11110e", "7": "1f010204080808", "8": "0e11110e11110e", "9": "0e11110f01020c",
    "a": "00000e010f110f", "b": "1010161911111e", "c": "00000e1010110e", "d": "01010d1311110f", "e": "00000e111f100e",
    "f": "0609081c080808", "g": "000f11110f010e", "h": "10101619111111", "i": "04000c0404040e", "k": "10101214181412",
    "l": "0c04040404040e", "m": "00001a15151111", "n": "00001619111111", "o": "00000e1111110e", "p": "00001e111e1010",
    "r": "00001619101010", "s": "00000e100e011e", "t": "08081c08080906", "u": "0000111111130d", "v": "00001111110a04",
    "w": "0000111115150a", "y": "000011110f010e", "%": "18190204081303", ".": "00000000000c0c",
    ",": "000000000c0408", ":": "000c0c000c0c00", "/": "00010204081000", "-": "0000001f000000", " ": "00000000000000",
}


class Canvas:
    """A white RGB picture to draw on; `save` writes it as PNG."""

    def __init__(self, width, height, background=(255, 255, 255)):
        self.width, self.height = width, height
        self.pixels = bytearray(bytes(background) * (width * height))

    def box(self, x, y, width, height, colour):
        line = bytes(colour) * width
        for row in range(y, y + height):
            start = 3 * (row * self.width + x)
            self.pixels[start:start + 3 * width] = line

    def text(self, x, y, words, colour=(40, 44, 52), scale=2, centred=False):
        """Write from (x, y), the upper left corner; centred: (x, y) is the middle."""
        if centred:
            x, y = x - (6 * len(words) - 1) * scale // 2, y - 7 * scale // 2
        for letter in words:
            for row in range(7):
                bits = int(FONT[letter][2 * row:2 * row + 2], 16)
                for column in range(5):
                    if bits >> (4 - column) & 1:
                        self.box(x + column * scale, y + row * scale, scale, scale, colour)
            x += 6 * scale

    def save(self, path):
        def chunk(kind, data):
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        stride = 3 * self.width
        rows = b"".join(b"\0" + self.pixels[i:i + stride] for i in range(0, len(self.pixels), stride))
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        with open(path, "wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header))
            file.write(chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def blend(share, low, high):
    return tuple(round(a + share * (b - a)) for a, b in zip(low, high))


def confusion(path, table, labels, title, mistakes=()):
    """Save the table as a picture.

    Right answers (the diagonal) are shaded blue by their share of the row, mistakes red. ``mistakes`` are up to ten
    triples (image as rows of numbers from 0 to 1, what it is, what it was taken for), drawn underneath.
    """
    cell, left, top, n = 52, 92, 96, len(table)
    side = n * cell
    canvas = Canvas(left + side + 32, top + side + (152 if mistakes else 36), (252, 252, 250))
    grey = (120, 126, 136)
    canvas.text(left + side // 2, 24, title, scale=2, centred=True)
    canvas.text(left + side // 2, 52, "taken for", grey, centred=True)
    canvas.text(30, top + side // 2, "is", grey, centred=True)
    for i, label in enumerate(labels):
        canvas.text(left + i * cell + cell // 2, top - 16, label, centred=True)
        canvas.text(left - 18, top + i * cell + cell // 2, label, centred=True)
    for i, row in enumerate(table):
        for j, count in enumerate(row):
            share = count / max(1, sum(row))
            # Mistakes are few: a square root makes even a single one visible.
            right, wrong = ((222, 233, 245), (24, 92, 160)), ((243, 243, 240), (205, 52, 52))
            colour = blend(share, *right) if i == j else blend(share**0.5, *wrong)
            x, y = left + j * cell, top + i * cell
            canvas.box(x + 1, y + 1, cell - 2, cell - 2, colour)
            if count:
                dark = share > 0.4 if i == j else share > 0.2
                ink = (255, 255, 255) if dark else (40, 44, 52)
                canvas.text(x + cell // 2, y + cell // 2, str(count), ink, centred=True)
    if mistakes:
        canvas.text(left, top + side + 24, "mistakes: what it is / taken for", grey)
    for k, (image, is_, taken_for) in enumerate(mistakes):
        x, y, dot = left + k * cell + 2, top + side + 54, 6
        for r, line in enumerate(image):
            for c, value in enumerate(line):
                canvas.box(x + c * dot, y + r * dot, dot, dot, blend(value, (255, 255, 255), (30, 34, 42)))
        canvas.text(x + 4 * dot, y + 8 * dot + 16, f"{is_}/{taken_for}", centred=True)
    canvas.save(path)
