/* SPDX-License-Identifier: BSD-2-Clause */
#include "host.h"

#include <err.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static void cpu_model(char *text, size_t size)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[256];

    (void)snprintf(text, size, "unknown");
    while (file && fgets(line, sizeof(line), file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        line[strcspn(line, "\n")] = '\0';
        (void)snprintf(text, size, "%s", colon + 1 + strspn(colon + 1, " "));
        break;
    }
    if (file)
        (void)fclose(file);
}

json_t *bench_number_json(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *bench_host_json(const char *qemu_version)
{
    char cpu[128];
    struct utsname kernel = {0};
    double load = NAN;

    cpu_model(cpu, sizeof(cpu));
    (void)uname(&kernel);
    (void)getloadavg(&load, 1);
    json_t *root = json_object();
    (void)json_object_set_new(root, "kernel", json_string(kernel.release));
    (void)json_object_set_new(root, "cpu", json_string(cpu));
    (void)json_object_set_new(root, "cpus", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    (void)json_object_set_new(root, "load_average", bench_number_json(load));
    (void)json_object_set_new(root, "qemu", *qemu_version ? json_string(qemu_version) : json_null());
    return root;
}

int bench_write_json(const json_t *root, const char *path)
{
    bool to_stdout = strcmp(path, "-") == 0;
    FILE *file = to_stdout ? stdout : fopen(path, "we");
    bool failed = !file;

    if (file) {
        failed = json_dumpf(root, file, JSON_INDENT(2) | JSON_REAL_PRECISION(10)) != 0 || fputc('\n', file) == EOF;
        failed = (to_stdout ? fflush(file) : fclose(file)) != 0 || failed;
    }
    if (failed)
        warn("the JSON could not be written to %s", to_stdout ? "stdout" : path);
    return failed ? 1 : 0;
}
