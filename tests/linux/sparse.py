# SPDX-License-Identifier: BSD-2-Clause
"""A disk image without its holes, so that a large one goes into the rig and comes back fast.

usage: sparse.py pack IMAGE FILE
       sparse.py unpack FILE IMAGE

FILE: the size; offset and length of each piece; an empty line; the pieces.
"""
import os
import sys

CHUNK = 1 << 20


def pieces_of(fd, size):
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole from here on
            return
        at = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, at - start


def copy(source, target, length):
    while length:
        data = source.read(min(length, CHUNK))
        if not data:
            sys.exit('a piece ends too early')
        target.write(data)
        length -= len(data)


def pack(image, path):
    with open(image, 'rb') as source, open(path, 'wb') as target:
        size = os.fstat(source.fileno()).st_size
        pieces = list(pieces_of(source.fileno(), size))
        target.write(b'%d\n' % size + b''.join(b'%d %d\n' % piece for piece in pieces) + b'\n')
        for start, length in pieces:
            source.seek(start)
            copy(source, target, length)


def unpack(path, image):
    with open(path, 'rb') as source, open(image, 'wb') as target:
        target.truncate(int(source.readline()))
        pieces = [tuple(map(int, line.split())) for line in iter(source.readline, b'\n')]
        for start, length in pieces:
            target.seek(start)
            copy(source, target, length)


if __name__ == '__main__':
    if len(sys.argv) != 4 or sys.argv[1] not in ('pack', 'unpack'):
        sys.exit(__doc__)
    {'pack': pack, 'unpack': unpack}[sys.argv[1]](*sys.argv[2:])
