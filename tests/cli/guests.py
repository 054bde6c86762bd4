# SPDX-License-Identifier: BSD-2-Clause
"""Firmware images of a few instructions each. Real mode; an image's first byte is F000:0000."""

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


def debug_exit(value, before=b""):
    return image(before, out(0x501, value), HALT)


def reset(before=b""):
    """PIIX3 reset control: a hard reset as bit 2 rises."""
    return image(before, out(0xCF9, 0x02), out(0xCF9, 0x06), HALT)


def say(text, port=0x402):
    """Writes text to a port, one byte at a time."""
    return b"".join(out(port, byte) for byte in text)


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

# Adds one to CMOS byte 40h and ends with its new value as debug exit.
COUNT = image(bytes([
    0xB0, 0x40,  # mov al, 40h
    0xE6, 0x70,  # out 70h, al
    0xE4, 0x71,  # in al, 71h
    0xFE, 0xC0,  # inc al
    0x88, 0xC4,  # mov ah, al
    0xB0, 0x40,  # mov al, 40h
    0xE6, 0x70,  # out 70h, al
    0x88, 0xE0,  # mov al, ah
    0xE6, 0x71,  # out 71h, al
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
