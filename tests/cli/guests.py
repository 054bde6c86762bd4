# SPDX-License-Identifier: BSD-2-Clause
"""Firmware images of a few instructions each (real mode; an image's first byte is F000:0000), and kernels that are refused."""

import struct

SIZE = 0x10000
# F000:FFF0, where an x86 begins: jmp 0000, 13 bytes on from the next instruction with wrap-around.
RESET_VECTOR = bytes([0xE9, 0x0D, 0x00])


def image(*code):
    """The 64 KiB file with this code at its start."""
    body = b"".join(code)
    data = bytearray(b"\xff" * SIZE)
    data[: len(body)] = body
    data[0xFFF0 : 0xFFF0 + len(RESET_VECTOR)] = RESET_VECTOR
    return bytes(data)


def out(port, value):
    return bytes([
        0xB0, value,  # mov al, value
        0xBA, port & 0xFF, port >> 8,  # mov dx, port
        0xEE,  # out dx, al
    ])


def out16(port, value):
    return bytes([
        0xB8, value & 0xFF, value >> 8,  # mov ax, value
        0xBA, port & 0xFF, port >> 8,  # mov dx, port
        0xEF,  # out dx, ax
    ])


def out32(port, value):
    return bytes([0x66, 0xB8]) + value.to_bytes(4, "little") + bytes([  # mov eax, value
        0xBA, port & 0xFF, port >> 8,  # mov dx, port
        0x66, 0xEF,  # out dx, eax
    ])


LOOP = bytes([0xEB, 0xFE])  # jmp $
HALT = bytes([0xFA, 0xF4, 0xEB, 0xFD])  # cli; again: hlt; jmp again


GDT_AT = 0x8000
FLASH_BYTES = 0x8000  # right below the image, which ends at 4 GiB


def flash_image(end):
    """Clears the lowest bit that is set in the flash's first byte, reads it back into AL, and goes on with `end`."""
    address = (0x100000000 - SIZE - FLASH_BYTES).to_bytes(4, "little")
    data = bytearray(image(
        bytes([0x66, 0x2E, 0x0F, 0x01, 0x16, GDT_AT & 0xFF, GDT_AT >> 8,  # lgdt cs:[GDT_AT]
               0x0F, 0x20, 0xC0, 0x0C, 0x01, 0x0F, 0x22, 0xC0,  # into protected mode ...
               0xBB, 0x08, 0x00, 0x8E, 0xE3,  # ... mov fs, 8: all memory ...
               0x24, 0xFE, 0x0F, 0x22, 0xC0,  # ... and back
               0x66, 0xBF, *address,  # mov edi, the flash
               0x67, 0x64, 0x8A, 0x27,  # mov ah, fs:[edi]
               0xD0, 0xE4,  # shl ah, 1
               0x67, 0x64, 0xC6, 0x07, 0x10,  # mov byte fs:[edi], 10h (program)
               0x67, 0x64, 0x88, 0x27,  # mov fs:[edi], ah
               0x67, 0x64, 0xC6, 0x07, 0xFF,  # mov byte fs:[edi], ffh (show the array)
               0x67, 0x64, 0x8A, 0x07]),  # mov al, fs:[edi]
        end))
    table = GDT_AT + 6
    data[GDT_AT:table] = (15).to_bytes(2, "little") + (0xFFFF0000 + table).to_bytes(4, "little")
    data[table:table + 16] = bytes(8) + bytes([0xFF, 0xFF, 0, 0, 0, 0x93, 0xCF, 0])  # accessed already: it is in ROM
    return bytes(data)


def debug_exit(value, before=b""):
    return image(before, out(0x501, value), HALT)


def reset(before=b""):
    """PIIX3 reset control: a hard reset as bit 2 rises."""
    return image(before, out(0xCF9, 0x02), out(0xCF9, 0x06), HALT)


def say(text, port=0x402):
    """Writes text to a port, one byte at a time."""
    return b"".join(out(port, byte) for byte in text)


# Ends with the flash's byte as the value of its debug exit, or says so and goes on for good.
FLASH = flash_image(bytes([0xBA, 0x01, 0x05, 0xEE]) + HALT)  # mov dx, 501h; out dx, al
FLASH_AND_RESET = flash_image(out(0xCF9, 0x02) + out(0xCF9, 0x06) + HALT)
FLASH_AND_GO_ON = flash_image(out(0x3F8, ord("!")) + LOOP)
# Says so, waits for a key on COM1, and programs once more.
FLASH_AT_KEY = flash_image(out(0x3F8, ord("!")) + bytes([
    0xBA, 0xFD, 0x03,  # mov dx, 3fdh (line status)
    0xEC,  # again: in al, dx
    0xA8, 0x01,  # test al, 1 (data ready)
    0x74, 0xFB,  # jz again
    0x67, 0x64, 0xC6, 0x07, 0x10,  # mov byte fs:[edi], 10h (program)
    0x67, 0x64, 0xC6, 0x07, 0x00,  # mov byte fs:[edi], 0
]) + LOOP)

# Says "." for good.
FLOOD = image(out(0x402, ord(".")), bytes([
    0xEE,  # again: out dx, al
    0xEB, 0xFD,  # jmp again
]))

# Says "!", then sends back on COM1 what comes in; "q" ends it with debug exit 5, status 11.
ECHO = image(out(0x3F8, ord("!")), bytes([
    0xBA, 0xFD, 0x03,  # again: mov dx, 3fdh (line status)
    0xEC,  # in al, dx
    0xA8, 0x01,  # test al, 1 (data ready)
    0x74, 0xF8,  # jz again
    0xBA, 0xF8, 0x03,  # mov dx, 3f8h
    0xEC,  # in al, dx
    0x3C, 0x71,  # cmp al, "q"
    0x74, 0x03,  # je quit
    0xEE,  # out dx, al
    0xEB, 0xED,  # jmp again
]), out(0x501, 5), HALT)

# Says "!" on COM1 and waits until the line status shows a break (BI); then debug exit 5, status 11.
WAIT_FOR_BREAK = image(out(0x3F8, ord("!")), bytes([
    0xBA, 0xFD, 0x03,  # mov dx, 3fdh (line status)
    0xEC,  # again: in al, dx
    0xA8, 0x10,  # test al, 10h
    0x74, 0xFB,  # jz again
]), out(0x501, 5), HALT)


def flood_and_exit(count):
    """Writes "." to COM1 `count` times, then debug exit 5, status 11."""
    return image(bytes([0x66, 0xB9]) + count.to_bytes(4, "little"), out(0x3F8, ord(".")), bytes([
        0xEE,  # again: out dx, al
        0x66, 0x49,  # dec ecx
        0x75, 0xFB,  # jnz again
    ]), out(0x501, 5), HALT)


# Adds one to CMOS byte 40h; its new value is in AL.
COUNT_UP = bytes([
    0xB0, 0x40,  # mov al, 40h
    0xE6, 0x70,  # out 70h, al
    0xE4, 0x71,  # in al, 71h
    0xFE, 0xC0,  # inc al
    0x88, 0xC4,  # mov ah, al
    0xB0, 0x40,  # mov al, 40h
    0xE6, 0x70,  # out 70h, al
    0x88, 0xE0,  # mov al, ah
    0xE6, 0x71,  # out 71h, al
])
# And ends with it as debug exit.
COUNT = image(COUNT_UP, bytes([
    0xBA, 0x01, 0x05,  # mov dx, 501h
    0xEE,  # out dx, al
]), HALT)

PM_BASE = 0x600
# Where the power management registers get their base and are switched on: (address, value) and (address, byte).
PM_SWITCH = {
    "i440fx": ((0x80000B40, PM_BASE | 1), (0x80000B80, 0x01)),  # PMBA, PMREGMISC
    "q35": ((0x8000F840, PM_BASE | 1), (0x8000F844, 0x80)),  # PMBASE, ACPI_CNTL
}
POWER_OFF = {"i440fx": out16(PM_BASE + 4, 0x2000), "q35": out16(PM_BASE + 4, 0x3C00)}  # PM1_CNT: SLP_EN, S5's SLP_TYP


def button(machine, then, acpi=True, enable=0x0100):
    """Listens for the power button, says "!"; when it is pressed, says "b" and does what `then` says."""
    (base, address), (control, on) = PM_SWITCH[machine]
    return image(
        out32(0xCF8, base), out32(0xCFC, address), out32(0xCF8, control), out(0xCFC, on),
        out(0xB2, 0xF1) if acpi else b"",  # SMI command port: ACPI on
        out16(PM_BASE + 2, enable),  # PM1_EN
        out(0x402, ord("!")),
        bytes([
            0xBA, PM_BASE & 0xFF, PM_BASE >> 8,  # again: mov dx, PM1_STS
            0xED,  # in ax, dx
            0xF6, 0xC4, 0x01,  # test ah, 1 (PWRBTN_STS)
            0x74, 0xF7,  # jz again
        ]),
        out16(PM_BASE, 0x0100), out(0x402, ord("b")), then, HALT)


# Ends with CMOS byte 35h as debug exit: the RAM from 16 MiB to the end of what is below 4 GiB, in 16 MiB.
LOW_RAM = image(bytes([
    0xB0, 0x35,  # mov al, 35h
    0xE6, 0x70,  # out 70h, al
    0xE4, 0x71,  # in al, 71h
    0xBA, 0x01, 0x05,  # mov dx, 501h
    0xEE,  # out dx, al
]), HALT)

ENDLESS = image(LOOP)
HALTED = image(HALT)

# Jumps to where nothing is: the instruction fetch finds no memory, which KVM cannot go on with.
NOWHERE = image(bytes([0xEA, 0x00, 0x00, 0x00, 0xA0]))  # jmp a000:0000


def linux(version=0x20F, loadflags=1, jump=0x6A, alignment=0x200000, relocatable=1, pref=0x1000000, init_size=0x100000,
          cmdline_size=2047, initrd_max=0x7FFFFFFF, cut=0):
    """A bzImage of a setup part of 1 KiB and 8 KiB of nothing; `cut` bytes are missing at its end."""
    data = bytearray(0x400 + 0x2000)
    struct.pack_into("<BHI", data, 0x1F1, 1, 0, 0x200)  # setup_sects, root_flags, syssize
    struct.pack_into("<HBB4sH", data, 0x1FE, 0xAA55, 0xEB, jump, b"HdrS", version)
    data[0x211] = loadflags
    struct.pack_into("<IIBBHI", data, 0x22C, initrd_max, alignment, relocatable, 0, 1, cmdline_size)
    struct.pack_into("<QI", data, 0x258, pref, init_size)
    return bytes(data[:len(data) - cut])


def multiboot_header(flags):
    return struct.pack("<III", 0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF)


def elf(machine=62, kind=2, elf_class=2, count=2, addr=0x100000, file_size=4096, memory_size=8192, pvh=False,
        pvh_entry=None, multiboot=None, cut=0, keep=None):
    """An ELF kernel: 4 KiB of headers, a PVH note if asked for, a multiboot header with these flags if asked for; then the
    one segment. `cut` bytes are missing at its end, or only `keep` are there."""
    entry = addr if pvh_entry is None else pvh_entry
    note = struct.pack("<III4sQ", 4, 8, 18, b"Xen", entry & 0xFFFFFFFF) if pvh else b""
    data = bytearray(4096 + 4096)
    headers = 4096 - 56 * 66  # so that a file that is cut down into them has lost some
    struct.pack_into("<4sBBBxxxxxxxxxHHIQQQIHHHHHH", data, 0, b"\x7fELF", elf_class, 1, 1, kind, machine, 1, addr, headers,
                     0, 0, 64, 56, count, 0, 0, 0)
    struct.pack_into("<IIQQQQQQ", data, headers, 1, 7, 4096, addr, addr, file_size, memory_size, 4096)
    struct.pack_into("<IIQQQQQQ", data, headers + 56, 4, 4, 128, 0, 0, len(note), len(note), 4)
    data[128:128 + len(note)] = note
    if multiboot is not None:
        data[256:268] = multiboot_header(multiboot)
    return bytes(data[:len(data) - cut] if keep is None else data[:keep])
