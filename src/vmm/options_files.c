/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What can be said about the files named on the command line before anything is started. A check is no promise: who
 * opens a file later still has to handle its errors. But most slips of the keyboard end here, before /dev/kvm is
 * touched.
 */
#include "vmm/options.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/parse.h"

#define QUOTE_BYTES 160

static bool reject(struct options_error *error, const char *option, const char *path, const char *why)
{
    char quoted[QUOTE_BYTES];

    options_fail(error, "%s %s: %s", option, parse_quote(path, quoted, sizeof(quoted)), why);
    return false;
}

/* What a short name of --firmware stands for. */
static const struct {
    const char *name, *path, *missing;
} firmwares[] = {
    {"seabios", OPTIONS_SEABIOS_PATH, "not there; install SeaBIOS (package 'seabios') or name a file"},
    {"ovmf", OPTIONS_OVMF_CODE_PATH, "not there; install OVMF (package 'ovmf') or name a file"},
};

const char *options_firmware_path(const char *name)
{
    for (size_t i = 0; i < sizeof(firmwares) / sizeof(firmwares[0]); i++)
        if (strcmp(name, firmwares[i].name) == 0)
            return firmwares[i].path;
    return name;
}

static bool check_firmware(const char *path, struct options_error *error)
{
    char option[40] = "--firmware";
    struct stat info;
    char why[120];

    for (size_t i = 0; i < sizeof(firmwares) / sizeof(firmwares[0]); i++) {
        if (strcmp(path, firmwares[i].name) != 0)
            continue;
        (void)snprintf(option, sizeof(option), "--firmware %s:", path);
        path = firmwares[i].path;
        if (access(path, F_OK) != 0)
            return reject(error, option, path, firmwares[i].missing);
        break;
    }
    if (stat(path, &info) != 0 || faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) != 0)
        return reject(error, option, path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return reject(error, option, path, "not a regular file");
    if (info.st_size > 0 && info.st_size <= (off_t)OPTIONS_FIRMWARE_MAX && info.st_size % OPTIONS_FIRMWARE_UNIT == 0)
        return true;
    (void)snprintf(why, sizeof(why), "%lld bytes; a firmware image is a multiple of %u KiB, up to %u MiB",
                   (long long)info.st_size, OPTIONS_FIRMWARE_UNIT >> 10, OPTIONS_FIRMWARE_MAX >> 20);
    return reject(error, option, path, why);
}

/* The contents are looked at when they are read. */
static bool check_image(const char *option, const char *path, uint64_t memory, struct options_error *error)
{
    struct stat info;
    char why[120];

    if (stat(path, &info) != 0 || faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) != 0)
        return reject(error, option, path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return reject(error, option, path, "not a regular file");
    if (info.st_size <= 0)
        return reject(error, option, path, "it is empty");
    if ((uint64_t)info.st_size <= memory && info.st_size <= (off_t)OPTIONS_KERNEL_MAX)
        return true;
    if (info.st_size > (off_t)OPTIONS_KERNEL_MAX)
        (void)snprintf(why, sizeof(why), "%lld bytes; at most %u MiB can be loaded", (long long)info.st_size,
                       OPTIONS_KERNEL_MAX >> 20);
    else
        (void)snprintf(why, sizeof(why), "%lld bytes; the machine has %lluM (--memory)", (long long)info.st_size,
                       (unsigned long long)memory >> 20);
    return reject(error, option, path, why);
}

/* Whether a file could be made in the directory that `path` names. */
static bool check_directory(const char *option, const char *path, struct options_error *error)
{
    const char *slash = strrchr(path, '/');
    char directory[PATH_MAX];
    struct stat info;

    if (slash && (size_t)(slash - path) >= sizeof(directory))
        return reject(error, option, path, strerror(ENAMETOOLONG));
    if (slash)
        (void)snprintf(directory, sizeof(directory), "%.*s", slash == path ? 1 : (int)(slash - path), path);
    else
        (void)snprintf(directory, sizeof(directory), ".");
    if (stat(directory, &info) != 0)
        return reject(error, option, path, errno == ENOENT ? "its directory does not exist" : strerror(errno));
    if (!S_ISDIR(info.st_mode))
        return reject(error, option, path, strerror(ENOTDIR));
    if (faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) != 0)
        return reject(error, option, path, errno == EACCES ? "no permission to make it" : strerror(errno));
    return true;
}

/* A file that will be written, and read first if `mode` has R_OK too. */
static bool check_output(const char *option, const char *path, int mode, struct options_error *error)
{
    struct stat info;

    if (stat(path, &info) != 0)
        return errno == ENOENT ? check_directory(option, path, error) : reject(error, option, path, strerror(errno));
    if (S_ISDIR(info.st_mode))
        return reject(error, option, path, strerror(EISDIR));
    if (faccessat(AT_FDCWD, path, mode, AT_EACCESS) != 0)
        return reject(error, option, path, strerror(errno));
    return true;
}

static bool check_nvram(const char *path, struct options_error *error)
{
    struct stat info;

    if (!check_output("--rtc nvram", path, R_OK | W_OK, error))
        return false;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return reject(error, "--rtc nvram", path, "not a regular file");
    return true;
}

static bool check_flash(const struct run_options *options, struct options_error *error)
{
    struct stat info;

    if (stat(options->flash, &info) != 0 && errno == ENOENT && strcmp(options->firmware, "ovmf") != 0)
        return reject(error, "--flash", options->flash,
                      "not there; it is made for --firmware ovmf only, copy the template that came with the firmware");
    return check_output("--flash", options->flash, R_OK | W_OK, error);
}

static bool check_chardev(const char *option, const char *spec, struct options_error *error)
{
    const char *path = strchr(spec, ':');

    if (strcmp(spec, "stdio") == 0) {
        int flags = fcntl(STDOUT_FILENO, F_GETFL);

        if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY)
            return true;
        options_fail(error, "%s stdio: standard output is closed", option);
        return false;
    }
    if (!path)
        return true;
    if (strncmp(spec, "unix:", 5) != 0)
        return check_output(option, path + 1, W_OK, error);
    if (strlen(path + 1) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return reject(error, option, path + 1, "too long for a socket's name (107 bytes)");
    return check_directory(option, path + 1, error);
}

static bool check_disks(const struct run_options *options, struct options_error *error)
{
    for (unsigned i = 0; i < options->disk_count; i++) {
        const struct option_disk *disk = &options->disks[i];
        struct stat info;

        if (stat(disk->file, &info) != 0)
            return reject(error, "--disk", disk->file, strerror(errno));
        if (!S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode))
            return reject(error, "--disk", disk->file, "neither a regular file nor a block device");
        if (faccessat(AT_FDCWD, disk->file, R_OK, AT_EACCESS) != 0)
            return reject(error, "--disk", disk->file, strerror(errno));
        if (!disk->read_only && faccessat(AT_FDCWD, disk->file, W_OK, AT_EACCESS) != 0)
            return reject(error, "--disk", disk->file,
                          errno == EACCES || errno == EROFS ? "may not be written; readonly=on if that is meant"
                                                            : strerror(errno));
    }
    return true;
}

bool options_check_files(const struct run_options *options, struct options_error *error)
{
    error->line[0] = '\0';
    return (!options->firmware || check_firmware(options->firmware, error)) &&
           (!options->kernel || check_image("--kernel", options->kernel, OPTIONS_KERNEL_MAX, error)) &&
           (!options->initrd || check_image("--initrd", options->initrd, options->memory_bytes, error)) &&
           check_chardev("--serial", options->serial, error) && check_chardev("--debugcon", options->debugcon, error) &&
           (!options->virtio_console || check_chardev("--virtio-console", options->virtio_console, error)) &&
           check_disks(options, error) &&
           (!options->stats_path || check_output("--stats", options->stats_path, W_OK, error)) &&
           (options->rtc_nvram[0] == '\0' || check_nvram(options->rtc_nvram, error)) &&
           (!options->flash || check_flash(options, error));
}
