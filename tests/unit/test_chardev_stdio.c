/* SPDX-License-Identifier: BSD-2-Clause */
#include "chardev_fixture.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>

/* ---- standard output ---- */

static void test_closed_stdout(void **state)
{
    struct fixture *f = *state;
    (void)close(STDOUT_FILENO);
    assert_int_equal(open("/dev/null", O_RDONLY | O_CLOEXEC), STDOUT_FILENO);
    must_open(f, "stdio", false);
    expect_failure(f, EBADF,
                   "cannot write serial output to standard output: Bad file descriptor; further output is dropped");
}

static void test_stdout_without_reader(void **state)
{
    struct fixture *f = *state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    (void)dup2(ends[1], STDOUT_FILENO);
    (void)close(ends[1]);
    must_open(f, "stdio", false);
    (void)close(ends[0]);
    expect_failure(f, EPIPE, "cannot write serial output to standard output: Broken pipe; further output is dropped");
}

/* Far more than fits into any of these, to a reader that only starts once the chardev has met the end of the room. */
static void stall_and_drain(struct fixture *f, int write_end, int read_end)
{
    const size_t size = 600000;
    (void)dup2(write_end, STDOUT_FILENO);
    (void)close(write_end);
    int flags = fcntl(STDOUT_FILENO, F_GETFL);
    must_open(f, "stdio", false);
    put_pattern(f->chr, size);
    run_for(f, 20);
    assert_true(stats(f->chr).written < size);
    assert_int_equal(chardev_flush(f->chr, 20), -ETIMEDOUT);
    assert_int_equal(fcntl(STDOUT_FILENO, F_GETFL), flags);
    assert_int_equal(fcntl(read_end, F_SETFL, O_NONBLOCK), 0);
    size_t got = 0;
    for (int turn = 0; turn < 10000 && got < size; turn++) {
        uint8_t data[4096];
        ssize_t n;
        ev_run(f->loop, EVRUN_NOWAIT);
        while ((n = read(read_end, data, sizeof(data))) > 0)
            for (ssize_t i = 0; i < n; i++)
                assert_int_equal(data[i], pattern(got++));
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(got, size);
    assert_int_equal(chardev_flush(f->chr, 1000), 0);
    assert_int_equal(fcntl(STDOUT_FILENO, F_GETFL), flags);
    (void)close(read_end);
}

static void test_stdout_pipe(void **state)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    stall_and_drain(*state, ends[1], ends[0]);
}

static void test_stdout_socket(void **state)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    stall_and_drain(*state, ends[1], ends[0]);
}

/* A terminal: `master` is the person's side, `slave` is what the program sees. Both in raw mode at first. */
static void open_terminal(int *master, int *slave)
{
    struct termios raw;
    char name[64];
    *master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(*master >= 0);
    assert_int_equal(grantpt(*master), 0);
    assert_int_equal(unlockpt(*master), 0);
    assert_int_equal(ptsname_r(*master, name, sizeof(name)), 0);
    *slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(*slave >= 0);
    assert_int_equal(tcgetattr(*slave, &raw), 0);
    cfmakeraw(&raw);
    assert_int_equal(tcsetattr(*slave, TCSANOW, &raw), 0);
}

static void test_stdout_terminal(void **state)
{
    int master, slave;
    open_terminal(&master, &slave);
    stall_and_drain(*state, slave, master);
}

/* What cannot be opened a second time is asked with poll() before each write. */
static void test_stdout_guarded(void **state)
{
    struct fixture *f = *state;
    int master, slave, flags;
    open_terminal(&master, &slave);
    (void)dup2(master, STDOUT_FILENO);
    flags = fcntl(STDOUT_FILENO, F_GETFL);
    must_open(f, "stdio", false);
    assert_true(f->chr->out_guarded);
    for (int i = 0; i < 500; i++)
        put(f->chr, "0123456789");
    char data[5001] = "";
    assert_int_equal(fcntl(slave, F_SETFL, O_NONBLOCK), 0);
    size_t got = 0;
    for (int turn = 0; turn < 10000 && got < 5000; turn++) {
        ev_run(f->loop, EVRUN_NOWAIT);
        ssize_t n = read(slave, data + got, sizeof(data) - 1 - got);
        got += n > 0 ? (size_t)n : 0;
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(got, 5000);
    for (size_t i = 0; i < got; i++)
        assert_int_equal(data[i], '0' + i % 10);
    assert_int_equal(fcntl(STDOUT_FILENO, F_GETFL), flags);
    (void)close(master);
    (void)close(slave);
}

/* `ringvmm >log 2>&1`: both write at one shared offset. */
static void test_stdout_file_shares_its_offset(void **state)
{
    struct fixture *f = *state;
    int fd = open(f->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    (void)dup2(fd, STDOUT_FILENO);
    must_open(f, "stdio", false);
    assert_int_equal(write(fd, "before ", 7), 7);
    put(f->chr, "guest ");
    assert_int_equal(chardev_flush(f->chr, 1000), 0);
    assert_int_equal(write(fd, "after", 5), 5);
    (void)close(fd);
    expect_file(f->path, "before guest after");
}

/* ---- standard input ---- */

static void test_stdin_file(void **state)
{
    struct fixture *f = *state;
    int fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "typed before", 12), 12);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    (void)dup2(fd, STDIN_FILENO);
    (void)close(fd);
    must_open(f, "stdio", true);
    RUN_UNTIL(f, f->chr->input_ended);
    assert_int_equal(f->input_size, 12);
    assert_memory_equal(f->input, "typed before", 12);
}

static void test_one_reader_of_stdin(void **state)
{
    struct fixture *f = *state;
    struct chardev *other = NULL;
    must_open(f, "stdio", true);
    assert_int_equal(try_open(f, "stdio", true, &other), -EBUSY);
    assert_string_equal(f->error, "serial: standard input is already read by serial");
    assert_int_equal(try_open(f, "stdio", false, &other), 0);
    assert_int_equal(chardev_close(other), 0);
    assert_int_equal(close_chardev(f), 0);
    must_open(f, "stdio", true);
}

static struct termios modes(int fd)
{
    struct termios result;
    assert_int_equal(tcgetattr(fd, &result), 0);
    return result;
}

static void test_terminal_modes(void **state)
{
    struct fixture *f = *state;
    int master, slave;
    open_terminal(&master, &slave);
    struct termios cooked = modes(slave);
    cooked.c_lflag |= ICANON | ECHO | ISIG | IEXTEN;
    cooked.c_iflag |= ICRNL | IXON;
    cooked.c_oflag |= OPOST;
    assert_int_equal(tcsetattr(slave, TCSANOW, &cooked), 0);
    (void)dup2(slave, STDIN_FILENO);
    must_open(f, "stdio", true);
    for (int round = 0; round < 3; round++) {
        struct termios raw = modes(slave);
        assert_int_equal(raw.c_lflag & (ICANON | ECHO | IEXTEN), 0);
        assert_int_equal(raw.c_iflag & (ICRNL | IXON), 0);
        assert_int_equal(raw.c_lflag & ISIG, ISIG);
        assert_int_equal(raw.c_oflag & OPOST, OPOST);
        chardev_restore_terminal();
        assert_int_equal(modes(slave).c_lflag, cooked.c_lflag);
        assert_int_equal(modes(slave).c_iflag, cooked.c_iflag);
        chardev_resume_terminal(f->chr);
    }
    assert_int_equal(write(master, "k\r", 2), 2); /* no line, no translation */
    RUN_UNTIL(f, f->input_size == 2);
    assert_memory_equal(f->input, "k\r", 2);
    assert_int_equal(close_chardev(f), 0);
    assert_int_equal(modes(slave).c_lflag, cooked.c_lflag);
    (void)close(master);
    (void)close(slave);
}

static void type(struct fixture *f, int master, const char *keys)
{
    assert_int_equal(write(master, keys, strlen(keys)), strlen(keys));
    run_for(f, 5);
}

static void test_terminal_keys(void **state)
{
    struct fixture *f = *state;
    int master, slave;
    open_terminal(&master, &slave);
    struct termios cooked = modes(slave);
    cooked.c_lflag |= ICANON | ECHO | ISIG | IEXTEN;
    assert_int_equal(tcsetattr(slave, TCSANOW, &cooked), 0);
    (void)dup2(slave, STDIN_FILENO);
    f->keys = true;
    must_open(f, "stdio", true);
    assert_int_equal(modes(slave).c_lflag & (ICANON | ECHO | ISIG | IEXTEN), 0);
    type(f, master, "a\x03\x01");
    type(f, master,
         "\x01"
         "b\x01zx\x01hb\x01?\x01x\x01");
    type(f, master, "b\x01p\x01r\x01o");
    assert_string_equal(f->keys_seen, "hhxbpro");
    assert_int_equal(f->input_size, 6);
    assert_memory_equal(f->input,
                        "a\x03\x01"
                        "bxb",
                        6);
    (void)close(master);
    (void)close(slave);
}

/* The receiver takes nothing: keys for us are heard, the first 4096 for the guest are kept, in order. */
static void test_terminal_keys_of_a_full_receiver(void **state)
{
    struct fixture *f = *state;
    int master, slave;
    char line[101] = "";
    open_terminal(&master, &slave);
    (void)dup2(slave, STDIN_FILENO);
    f->keys = true;
    f->input_room = 0;
    must_open(f, "stdio", true);
    for (unsigned i = 0; i < 50; i++) {
        memset(line, 'A' + (int)i, 100);
        type(f, master, line);
    }
    type(f, master, "\x01x");
    assert_string_equal(f->keys_seen, "x");
    assert_int_equal(stats(f->chr).keys_dropped, 5000 - 4096);
    f->input_room = 150;
    chardev_input_ready(f->chr);
    RUN_UNTIL(f, f->input_size == 150);
    type(f, master, "+");
    f->input_room = sizeof(f->input) - 150;
    chardev_input_ready(f->chr);
    RUN_UNTIL(f, f->input_size == 4097);
    for (unsigned i = 0; i < 4096; i++)
        assert_int_equal(f->input[i], 'A' + i / 100);
    assert_int_equal(f->input[4096], '+');
    assert_int_equal(stats(f->chr).keys_dropped, 5000 - 4096);
    type(f, master, "last");
    assert_memory_equal(f->input + 4097, "last", 4);
    (void)close(master);
    (void)close(slave);
}

/* ---- a pty ---- */

static int open_slave(struct fixture *f)
{
    assert_memory_equal(f->warning, "serial is at /dev/pts/", 22);
    int fd = open(f->warning + 13, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* `size` bytes of the pattern, from the `at`th on. */
static void read_pattern(struct fixture *f, int fd, size_t at, size_t size)
{
    for (int turn = 0; turn < 10000 && size; turn++) {
        uint8_t data[4096];
        ssize_t n;
        ev_run(f->loop, EVRUN_NOWAIT);
        while ((n = read(fd, data, size < sizeof(data) ? size : sizeof(data))) > 0) {
            for (ssize_t i = 0; i < n; i++)
                assert_int_equal(data[i], pattern(at++));
            size -= (size_t)n;
        }
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(size, 0);
}

static void test_pty(void **state)
{
    struct fixture *f = *state;
    f->keys = true; /* for terminals of people, not for this one */
    must_open(f, "pty", true);
    put_pattern(f->chr, 600000); /* more than a terminal takes */
    run_for(f, 20);
    assert_true(stats(f->chr).written < 600000);
    assert_int_equal(chardev_flush(f->chr, 20), -ETIMEDOUT);
    int fd = open_slave(f);
    read_pattern(f, fd, 0, 300000);
    (void)close(fd); /* the next one goes on where this one stopped */
    run_for(f, 20);
    fd = open_slave(f);
    read_pattern(f, fd, 300000, 300000);
    assert_int_equal(stats(f->chr).dropped, 0);
    assert_int_equal(write(fd, "\x01x\x03\r", 4), 4);
    RUN_UNTIL(f, f->input_size == 4);
    assert_memory_equal(f->input, "\x01x\x03\r", 4);
    assert_string_equal(f->keys_seen, "");
    (void)close(fd);
    assert_int_equal(close_chardev(f), 0);
    assert_int_equal(f->warnings, 1);
}

static void test_pty_without_reader(void **state)
{
    struct fixture *f = *state;
    must_open(f, "pty", false);
    for (int i = 0; i < 5; i++)
        put_pattern(f->chr, CHARDEV_BUFFER_MAX / 4);
    run_for(f, 20);
    put_pattern(f->chr, CHARDEV_BUFFER_MAX);
    run_for(f, 20);
    assert_true(stats(f->chr).dropped > CHARDEV_BUFFER_MAX);
    assert_true(stats(f->chr).written > 0);
    int fd = open_slave(f);
    read_pattern(f, fd, 0, CHARDEV_BUFFER_MAX / 4);
    (void)close(fd);
}

/* As if the terminal had been hung up: the last slave goes. */
static void test_pty_hung_up(void **state)
{
    struct fixture *f = *state;
    must_open(f, "pty", true);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int round = 0; round < 3; round++) {
        (void)dup2(null, f->chr->pty_fd);
        RUN_UNTIL(f, f->chr->pty_fd < 0);
        put(f->chr, "kept");
        run_for(f, 5);
        assert_int_equal(chardev_flush(f->chr, 10), -ENOTCONN);
        assert_false(ev_is_active(&f->chr->readable));
        RUN_UNTIL(f, f->chr->pty_fd >= 0);
        int fd = open_slave(f);
        char data[8] = "";
        ssize_t got = 0;
        RUN_UNTIL(f, got == 4 || (got = read(fd, data, sizeof(data))) == 4);
        assert_string_equal(data, "kept");
        assert_int_equal(write(fd, "in", 2), 2);
        RUN_UNTIL(f, f->input_size == 2u * (unsigned)(round + 1));
        (void)close(fd);
    }
    (void)close(null);
}

/* The leader of a session whose terminal is `slave`; its child, a job in the background, uses the chardev, and is then
 * brought to the foreground. Returns 0 or the number of the step that went wrong. */
static int background_session(struct fixture *f, int master, const char *slave_name)
{
    int go[2], there[2];
    (void)setsid();
    int slave = open(slave_name, O_RDWR);
    struct termios cooked;
    if (slave < 0 || tcgetattr(slave, &cooked) || pipe(go) || pipe(there))
        return 1;
    (void)signal(SIGTTOU, SIG_DFL);
    pid_t job = fork();
    if (job == 0) {
        char byte;
        (void)setpgid(0, 0);
        (void)dup2(slave, STDIN_FILENO);
        if (read(go[0], &byte, 1) != 1 || try_open(f, "stdio", true, &f->chr))
            _exit(2);
        struct termios now;
        if (tcgetattr(slave, &now) || now.c_lflag != cooked.c_lflag || ev_is_active(&f->chr->readable))
            _exit(3);
        if (write(master, "x\n", 2) != 2)
            _exit(4);
        run_for(f, 5);
        if (f->input_size || write(there[1], "1", 1) != 1 || read(go[0], &byte, 1) != 1)
            _exit(5);
        chardev_resume_terminal(f->chr); /* as after SIGCONT of `fg` */
        for (unsigned i = 0; i < 1000 && !f->input_size; i++)
            run_for(f, 5);
        if (tcgetattr(slave, &now) || now.c_lflag & ICANON || !f->input_size)
            _exit(6);
        chardev_close(f->chr);
        _exit(tcgetattr(slave, &now) || now.c_lflag != cooked.c_lflag ? 7 : 0);
    }
    (void)setpgid(job, job);
    char byte;
    (void)close(there[1]); /* the job's end is then the last: if it ends early, this reads its end */
    if (write(go[1], "1", 1) != 1 || read(there[0], &byte, 1) < 0)
        return 8;
    (void)signal(SIGTTOU, SIG_IGN);
    if (tcsetpgrp(slave, job) || write(go[1], "2", 1) != 1)
        return 9;
    int status = 0;
    if (waitpid(job, &status, WUNTRACED) != job || !WIFEXITED(status)) {
        (void)kill(job, SIGKILL);
        return 10; /* stopped by SIGTTOU or SIGTTIN */
    }
    return WEXITSTATUS(status);
}

static void test_terminal_in_the_background(void **state)
{
    struct fixture *f = *state;
    if (getenv("RINGVMM_VALGRIND"))
        skip(); /* valgrind's own descriptors are in the way of a new session's terminal */
    int master, slave, status = 0;
    char name[64];
    open_terminal(&master, &slave);
    struct termios cooked = modes(slave);
    cooked.c_lflag |= ICANON | ECHO | ISIG;
    assert_int_equal(tcsetattr(slave, TCSANOW, &cooked), 0);
    assert_int_equal(ptsname_r(master, name, sizeof(name)), 0);
    pid_t leader = fork();
    if (leader == 0) {
        ev_loop_fork(f->loop);
        _exit(background_session(f, master, name));
    }
    assert_int_equal(waitpid(leader, &status, 0), leader);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    (void)close(master);
    (void)close(slave);
}

static void exit_42(int signum)
{
    (void)signum;
    _exit(42);
}

/* A process with a raw terminal, which a signal strikes. Exits with 1 if it lives on, 2 for a step that went wrong. */
static void die_of(struct fixture *f, int slave, int signum, bool by_fault, void (*handler)(int))
{
    const struct rlimit no_core = {1, 1}; /* 0 would still feed a program in core_pattern */
    struct termios now;
    (void)setrlimit(RLIMIT_CORE, &no_core);
    (void)signal(signum, handler);
    (void)dup2(slave, STDIN_FILENO);
    chardev_catch_fatal_signals();
    chardev_catch_fatal_signals(); /* must not take itself for what was there before */
    if (try_open(f, "stdio", true, &f->chr) || tcgetattr(slave, &now) || now.c_lflag & ICANON)
        _exit(2);
    if (by_fault) {
        volatile char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        *page = 1;
    } else {
        (void)kill(getpid(), signum);
    }
    _exit(1);
}

static void test_terminal_after_fatal_signals(void **state)
{
    struct fixture *f = *state;
    if (getenv("RINGVMM_VALGRIND"))
        skip(); /* it faults on purpose */
    const struct {
        int signum;
        bool by_fault;
        void (*handler)(int);
        int exit; /* -1: by the signal */
        bool restored;
    } cases[] = {
        {SIGQUIT, false, SIG_DFL, -1, true}, {SIGABRT, false, SIG_DFL, -1, true}, {SIGBUS, false, SIG_DFL, -1, true},
        {SIGSEGV, false, SIG_DFL, -1, true}, {SIGSEGV, true, SIG_DFL, -1, true},  {SIGFPE, false, SIG_DFL, -1, true},
        {SIGILL, false, SIG_DFL, -1, true},  {SIGQUIT, false, SIG_IGN, 1, false}, {SIGSEGV, true, exit_42, 42, true},
        {SIGABRT, false, exit_42, 42, true},
    };
    int master, slave;
    open_terminal(&master, &slave);
    struct termios cooked = modes(slave);
    cooked.c_lflag |= ICANON | ECHO | ISIG;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int status = 0;
        assert_int_equal(tcsetattr(slave, TCSANOW, &cooked), 0);
        pid_t child = fork();
        if (child == 0)
            die_of(f, slave, cases[i].signum, cases[i].by_fault, cases[i].handler);
        assert_int_equal(waitpid(child, &status, 0), child);
        if (cases[i].exit < 0)
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == cases[i].signum);
        else
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == cases[i].exit);
        assert_int_equal(modes(slave).c_lflag == cooked.c_lflag, cases[i].restored);
    }
    (void)close(master);
    (void)close(slave);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_closed_stdout),
        TEST(test_stdout_without_reader),
        TEST(test_stdout_pipe),
        TEST(test_stdout_socket),
        TEST(test_stdout_terminal),
        TEST(test_stdout_guarded),
        TEST(test_stdout_file_shares_its_offset),
        TEST(test_stdin_file),
        TEST(test_one_reader_of_stdin),
        TEST(test_terminal_modes),
        TEST(test_terminal_keys),
        TEST(test_terminal_keys_of_a_full_receiver),
        TEST(test_pty),
        TEST(test_pty_without_reader),
        TEST(test_pty_hung_up),
        TEST(test_terminal_in_the_background),
        TEST(test_terminal_after_fatal_signals),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("chardev_stdio", tests, NULL, NULL);
}
