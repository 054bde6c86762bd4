/* SPDX-License-Identifier: BSD-2-Clause */
/* A terminal that is made for a chardev: the master is ours, the slave is for whoever opens it. All on the loop's
 * thread. */
#define _GNU_SOURCE 1 /* ptsname_r */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/chardev_internal.h"

#define LOST_SECONDS 0.1 /* who hangs a terminal up opens it again at once, as agetty does */

/* While a slave is open nobody sees the others come and go. By TIOCGPTPEER, as the name may be another terminal's in
 * this mount namespace. */
static int hold_slave(struct chardev *chr)
{
    struct termios modes;
    int fd = ioctl(chr->in_fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (tcgetattr(fd, &modes) == 0) {
        cfmakeraw(&modes); /* no echo of what the guest says, before somebody has opened it */
        (void)tcsetattr(fd, TCSANOW, &modes);
    }
    chr->pty_fd = fd;
    return 0;
}

int chardev_pty_open(struct chardev *chr)
{
    char name[64];
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    chr->in_fd = chr->out_fd = fd;
    int ret = grantpt(fd) || unlockpt(fd) ? -errno : -ptsname_r(fd, name, sizeof(name));
    ret = ret ? ret : hold_slave(chr);
    chr->path = ret ? NULL : strdup(name);
    if (!ret && !chr->path)
        ret = -ENOMEM;
    if (ret) {
        chardev_pty_close(chr);
        return ret;
    }
    ev_io_set(&chr->readable, fd, EV_READ);
    ev_io_set(&chr->writable, fd, EV_WRITE);
    return 0;
}

void chardev_pty_hung_up(struct chardev *chr)
{
    ev_io_stop(chr->loop, &chr->readable);
    ev_io_stop(chr->loop, &chr->writable);
    if (chr->pty_fd >= 0)
        (void)close(chr->pty_fd);
    chr->pty_fd = -1;
    ev_timer_stop(chr->loop, &chr->retry);
    ev_timer_set(&chr->retry, LOST_SECONDS, 0.);
    ev_timer_start(chr->loop, &chr->retry);
}

bool chardev_pty_open_again(struct chardev *chr)
{
    return hold_slave(chr) == 0;
}

void chardev_pty_close(struct chardev *chr)
{
    if (chr->pty_fd >= 0)
        (void)close(chr->pty_fd);
    if (chr->in_fd >= 0)
        (void)close(chr->in_fd);
    chr->in_fd = chr->out_fd = chr->pty_fd = -1;
}
