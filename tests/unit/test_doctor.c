/* SPDX-License-Identifier: BSD-2-Clause */
/* The doctor in a tree of our own making, with back ends that find what each test says. */
#define _GNU_SOURCE 1 /* nftw() */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef HAVE_JANSSON
#include <jansson.h>
#endif

#include "vmm/doctor.h"

/* ---- the back ends ---- */

const char *ringd_backend_name(enum ringd_backend_kind kind)
{
    static const char *const names[] = {"auto", "mmio2", "v1", "memfd", "off"};

    return names[kind];
}

int ringd_probe(int kvm_fd, enum ringd_backend_kind kind, struct ringd_probe_result *result)
{
    assert_true(kvm_fd >= 0 || kind == RINGD_BACKEND_MEMFD);
    result->error = kind == RINGD_BACKEND_MEMFD ? 0 : -ENOTTY;
    (void)snprintf(result->reason, sizeof(result->reason), "%s was tried", ringd_backend_name(kind));
    return result->error;
}

int ringd_choose(int kvm_fd, enum ringd_backend_kind kind, struct ringd_probe_result *result, int *scratch_vm)
{
    (void)kvm_fd;
    (void)scratch_vm;
    (void)kind;
    (void)snprintf(result->reason, sizeof(result->reason), "chosen");
    return RINGD_BACKEND_OFF;
}

/* ---- a host made of files ---- */

static char root[] = "/tmp/test_doctor.XXXXXX";

static void host_file(const char *path, const char *text)
{
    char full[256];
    FILE *file;

    (void)snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *slash = strchr(full + sizeof(root), '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        assert_true(mkdir(full, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    file = fopen(full, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int make_host(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int remove_host(void **state)
{
    (void)state;
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct doctor_report report;

static const struct doctor_finding *find(const char *name)
{
    for (unsigned i = 0; i < report.count; i++) {
        if (strcmp(report.findings[i].name, name) == 0)
            return &report.findings[i];
    }
    fail_msg("no finding named %s", name);
    return NULL;
}

static void expect(const char *name, enum doctor_level level, const char *value)
{
    const struct doctor_finding *finding = find(name);

    assert_string_equal(finding->value, value);
    assert_int_equal(finding->level, level);
}

static void a_bare_host(void **state)
{
    (void)state;
    doctor_gather(&report, root);
    assert_false(doctor_can_run(&report));
    expect("/dev/kvm", DOCTOR_MISSING, "No such file or directory");
    assert_non_null(strstr(find("/dev/kvm")->hint, "modprobe"));
    expect("VT-x/SVM", DOCTOR_WARN, "neither vmx nor svm in /proc/cpuinfo");
    expect("mmio2", DOCTOR_MISSING, "needs /dev/kvm");
    expect("v1", DOCTOR_MISSING, "needs /dev/kvm");
    expect("memfd", DOCTOR_OK, "memfd was tried");
    expect("clocksource", DOCTOR_WARN, "unknown");
    expect("SeaBIOS", DOCTOR_WARN, OPTIONS_SEABIOS_PATH ": No such file or directory");
    expect("isolated CPUs", DOCTOR_OK, "none");
}

static void a_furnished_host(void **state)
{
    (void)state;
    host_file("/proc/cpuinfo", "processor\t: 0\nvmx flags\t: ept\nflags\t\t: fpu svm_lock vmx sse\n");
    host_file("/dev/kvm", "a file is no KVM");
    host_file("/sys/module/kvm/parameters/halt_poll_ns", "0\n");
    host_file("/sys/devices/system/cpu/isolated", "2-3\n");
    host_file("/sys/devices/system/cpu/nohz_full", "(null)\n");
    host_file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
    host_file("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n");
    host_file("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    host_file("/proc/meminfo", "MemTotal:  1 kB\nHugePages_Total:      16\n");
    host_file(OPTIONS_SEABIOS_PATH, "");
    doctor_gather(&report, root);
    assert_false(doctor_can_run(&report));
    assert_int_equal(find("/dev/kvm")->level, DOCTOR_MISSING);
    assert_non_null(strstr(find("/dev/kvm")->value, "not KVM"));
    expect("VT-x/SVM", DOCTOR_OK, "VT-x (vmx)");
    expect("halt_poll_ns", DOCTOR_WARN, "0 ns");
    expect("isolated CPUs", DOCTOR_OK, "2-3");
    expect("nohz_full CPUs", DOCTOR_OK, "none");
    expect("cpufreq governor", DOCTOR_WARN, "powersave");
    expect("clocksource", DOCTOR_OK, "tsc");
    expect("transparent huge pages", DOCTOR_OK, "madvise");
    expect("reserved huge pages", DOCTOR_OK, "16");
    expect("SeaBIOS", DOCTOR_OK, OPTIONS_SEABIOS_PATH);
    host_file("/proc/cpuinfo", "flags : svm\n");
    host_file("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
    host_file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n");
    doctor_gather(&report, root);
    expect("VT-x/SVM", DOCTOR_OK, "SVM (svm)");
    expect("transparent huge pages", DOCTOR_WARN, "never");
    expect("cpufreq governor", DOCTOR_OK, "performance");
}

/* ---- the printers ---- */

static void two_findings(void)
{
    report.count = 0;
    doctor_add(&report, "One", "first", DOCTOR_OK, "%d", 42)->required = true;
    doctor_hint(doctor_add(&report, "Two", "second", DOCTOR_WARN, "a\n\xff\"b"), "do %s", "this");
}

static void what_can_run(void **state)
{
    (void)state;
    two_findings();
    assert_true(doctor_can_run(&report));
    doctor_add(&report, "Two", "optional", DOCTOR_MISSING, "no");
    assert_true(doctor_can_run(&report));
    doctor_add(&report, "Two", "vital", DOCTOR_MISSING, "no")->required = true;
    assert_false(doctor_can_run(&report));
}

static void the_table(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);

    (void)state;
    two_findings();
    doctor_print_table(&report, stream);
    assert_int_equal(fclose(stream), 0);
    assert_string_equal(text, "One\n"
                              "  ok       first                   42\n"
                              "\n"
                              "Two\n"
                              "  warn     second                  a?"
                              "?\"b\n"
                              "                                   -> do this\n"
                              "\n"
                              "ringvmm can run on this host.\n");
    free(text);
}

static void the_json(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);

    (void)state;
    two_findings();
#ifdef HAVE_JANSSON
    json_t *all;
    json_t *second;

    assert_int_equal(doctor_print_json(&report, stream), 0);
    assert_int_equal(fclose(stream), 0);
    all = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(all);
    assert_true(json_is_true(json_object_get(all, "can_run")));
    assert_int_equal(json_array_size(json_object_get(all, "findings")), 2);
    assert_null(json_object_get(json_array_get(json_object_get(all, "findings"), 0), "hint"));
    second = json_array_get(json_object_get(all, "findings"), 1);
    assert_string_equal(json_string_value(json_object_get(second, "section")), "Two");
    assert_string_equal(json_string_value(json_object_get(second, "name")), "second");
    assert_string_equal(json_string_value(json_object_get(second, "level")), "warn");
    assert_string_equal(json_string_value(json_object_get(second, "value")), "a?"
                                                                             "?\"b");
    assert_string_equal(json_string_value(json_object_get(second, "hint")), "do this");
    assert_true(json_is_false(json_object_get(second, "required")));
    json_decref(all);
#else
    assert_int_equal(doctor_print_json(&report, stream), -ENOTSUP);
    assert_int_equal(fclose(stream), 0);
    assert_int_equal(size, 0);
#endif
    free(text);
}

static void the_command(void **state)
{
    char help[] = "--help";
    char wrong[] = "--jsno";
    char *arguments[] = {help, wrong};
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    struct options_error error;

    (void)state;
    assert_int_equal(doctor_main(1, arguments, stream, &error), RINGVMM_EXIT_OK);
    assert_string_equal(error.line, "");
    assert_int_equal(fclose(stream), 0);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        assert_true(strlen(line) <= 80);
    free(text);
    assert_int_equal(doctor_main(1, arguments + 1, stderr, &error), RINGVMM_EXIT_USAGE);
    assert_string_equal(error.line, "unknown option '--jsno'; did you mean '--json'? See 'ringvmm doctor --help'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bare_host), cmocka_unit_test(a_furnished_host), cmocka_unit_test(what_can_run),
        cmocka_unit_test(the_table),   cmocka_unit_test(the_json),         cmocka_unit_test(the_command),
    };

    return cmocka_run_group_tests_name("doctor", tests, make_host, remove_host);
}
