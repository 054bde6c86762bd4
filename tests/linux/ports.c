/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside a guest: ports PORT VALUE... - writes each byte to its port. A kernel without /dev/port leaves no other way.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>

int main(int argc, char **argv)
{
    if (argc < 3 || iopl(3) < 0) {
        perror("ports");
        return 1;
    }
    for (int i = 1; i + 1 < argc; i += 2)
        outb((unsigned char)strtoul(argv[i + 1], NULL, 0), (unsigned short)strtoul(argv[i], NULL, 0));
    return 0;
}
