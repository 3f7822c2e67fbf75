/* SPDX-License-Identifier: LGPL-2.1-or-later */
// heapwalk(1): global options, then a command of the library's table with its own options.
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "heapwalk.h"

enum { HW_STATUS_USAGE = 2, HW_STATUS_OS = 3, HW_STATUS_CLOSED = 141 };
enum { HW_PROGRESS_AFTER_MS = 500, HW_PROGRESS_EVERY_MS = 100 };

// ---- what the words ask for ----

static const struct argp_option hw_global_options[] = {
	{ "pid", 'p', "PID", 0, "Look at the live process PID; it is stopped while it is read", 1 },
	{ "core", 'c', "CORE", 0, "Look at a core file", 1 },
	{ "exe", 'e', "EXE", 0, "Executable that the core was made from, if it has moved", 1 },
	{ "sysroot", HW_KEY_SYSROOT, "DIR", 0, "Look for the target's files below DIR", 2 },
	{ "debug-dir", HW_KEY_DEBUG_DIR, "DIRS", 0,
	  "Directories of detached debug files, ':' between (default /usr/lib/debug)", 2 },
	{ "threads", HW_KEY_THREADS, "N", 0, "Use N threads (default: one a processor, at most 8)",
	  2 },
	{ "copy", HW_KEY_COPY, NULL, 0,
	  "Copy the process's writable memory, let it run on, then look at the copy", 2 },
	{ "no-stop", HW_KEY_NO_STOP, NULL, 0,
	  "Don't stop the process; if nobody else has, the report is partial", 2 },
	{ "debuginfod", HW_KEY_DEBUGINFOD, NULL, 0,
	  "Download debug files that are missing from the servers in $DEBUGINFOD_URLS", 2 },
	{ "debug", HW_KEY_DEBUG, NULL, 0, "Run the dear checks and show every issue", 2 },
	{ "color", HW_KEY_COLOR, "WHEN", OPTION_ARG_OPTIONAL,
	  "Set parts of the text off: auto (the default: on a terminal), always, never", 2 },
	{ "quiet", 'q', NULL, 0, "No progress and no warnings on standard error", 2 },
	{ 0 },
};

static _Noreturn void HW_PRINTF(1, 2) hw_die(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fputs("heapwalk: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(HW_STATUS_USAGE);
}

static error_t hw_parse_global(int key, char *arg, struct argp_state *state)
{
	struct hw_cli *cli = state->input;
	char *end;
	long number;
	switch (key) {
	case 'p':
		errno = 0;
		number = strtol(arg, &end, 10);
		if (errno || *end || end == arg || number < 1 || number > INT32_MAX)
			hw_die("\"%s\" is no process id: -p takes a positive number", arg);
		cli->pid = (int)number;
		break;
	case 'c':
		cli->core = arg;
		break;
	case 'e':
		cli->options.exe = arg;
		break;
	case HW_KEY_SYSROOT:
		cli->options.sysroot = arg;
		break;
	case HW_KEY_DEBUG_DIR:
		cli->options.debug_dirs = arg;
		break;
	case HW_KEY_THREADS:
		errno = 0;
		number = strtol(arg, &end, 10);
		if (errno || *end || end == arg || number < 1 || number > 64)
			hw_die("--threads takes a number from 1 to 64, not \"%s\"", arg);
		cli->options.threads = (unsigned)number;
		break;
	case HW_KEY_NO_STOP:
		cli->options.no_stop = true;
		break;
	case HW_KEY_COPY:
		cli->options.copy = true;
		break;
	case HW_KEY_DEBUGINFOD:
		cli->options.debuginfod = true;
		break;
	case HW_KEY_DEBUG:
		cli->options.debug = true;
		break;
	case HW_KEY_COLOR:
		if (!hw_cli_color_parse(arg ? arg : "always", &cli->color))
			hw_die("--color takes one of auto, always, never, not \"%s\"", arg);
		break;
	case 'q':
		cli->quiet = true;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static char *hw_help_filter(int key, const char *text, void *input)
{
	(void)input;
	return key == ARGP_KEY_HELP_POST_DOC ? hw_cli_command_list() : (char *)text;
}

static void hw_print_version(FILE *stream, struct argp_state *state)
{
	(void)state;
	fprintf(stream, "heapwalk %s\n", hw_version());
}

static const struct argp hw_argp = {
	.options = hw_global_options,
	.parser = hw_parse_global,
	.args_doc = "[COMMAND [ARGUMENT...]]",
	.doc = "Where is my RAM? Walks the glibc malloc and CPython heaps of a live process or a "
	       "core "
	       "file, from outside.\v",
	.help_filter = hw_help_filter,
};

static void hw_parse(struct hw_cli *cli, int argc, char **argv)
{
	struct hw_words words = { 0 };
	if (!hw_cli_split(hw_global_options, argc, argv, &words))
		hw_die("out of memory");
	if (words.bad)
		hw_die(words.bad_needs_value ? "%s needs a value: see heapwalk --help"
					     : "there is no option %s: see heapwalk --help",
		       words.bad);
	// ARGP_NO_ERRS below keeps argp's own --help silent.
	if (hw_cli_asks_for_help(words.global_count, (const char *const *)words.globals)) {
		argp_help(&hw_argp, stdout, ARGP_HELP_STD_HELP & ~ARGP_HELP_EXIT_OK,
			  words.globals[0]);
		exit(EXIT_SUCCESS);
	}
	argp_program_version_hook = hw_print_version;
	// The words were looked at already: what is wrong with them is said in one sentence.
	if (argp_parse(&hw_argp, words.global_count, words.globals, ARGP_IN_ORDER | ARGP_NO_ERRS,
		       NULL, cli))
		hw_die("an option is wrong or lacks its value: see heapwalk --help");
	free(words.globals);
	cli->argc = words.count;
	cli->argv = (const char **)words.words;
}

// ---- output and progress ----

static bool hw_write_stdout(void *payload, const char *text, size_t len)
{
	struct hw_cli *cli = payload;
	hw_cli_clear_progress(cli);
	while (len) {
		ssize_t n = write(STDOUT_FILENO, text, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			cli->stdout_errno = errno;
			return false;
		}
		text += n;
		len -= (size_t)n;
	}
	return true;
}

static uint64_t hw_now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void hw_cli_clear_progress(struct hw_cli *cli)
{
	if (cli->progress_shown)
		fputs("\r\033[K", stderr);
	cli->progress_shown = false;
}

static bool hw_show_progress(void *payload, const char *what, uint64_t done, uint64_t total)
{
	struct hw_cli *cli = payload;
	uint64_t now = hw_now_ms();
	if (!cli->progress_next)
		cli->progress_next = now + HW_PROGRESS_AFTER_MS;
	if (now < cli->progress_next)
		return false;
	cli->progress_next = now + HW_PROGRESS_EVERY_MS;
	cli->progress_shown = true;
	fprintf(stderr, "\r%s", what ? what : "reading");
	if (total)
		fprintf(stderr, " %d %%",
			(int)((done < total ? done : total) * 100.0 / (double)total));
	fputs("\033[K", stderr);
	return false;
}

// ---- interruption ----

static struct hw_session *_Atomic hw_interruptible;

static void hw_on_interrupt(int number)
{
	struct hw_session *session = atomic_load(&hw_interruptible);
	if (!session)
		_exit(128 + number);
	hw_session_interrupt(session);
	// A second one ends the program at once: the kernel then lets the target go.
	signal(number, SIG_DFL);
}

static void hw_catch_signals(void)
{
	struct sigaction action = { .sa_handler = hw_on_interrupt, .sa_flags = SA_RESTART };
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	signal(SIGPIPE, SIG_IGN); // write() says so
	signal(SIGXFSZ, SIG_IGN); // so here
}

// ---- running ----

static int hw_fail(struct hw_cli *cli, struct hw_error *err)
{
	hw_cli_clear_progress(cli);
	int status = hw_error_exit_status(err);
	bool is_warning = hw_error_code(err) == HW_ERROR_PARTIAL;
	if (cli->stdout_errno == EPIPE) {
		status = HW_STATUS_CLOSED; // the reader has seen enough: no words about it
	} else if (cli->stdout_errno) {
		fprintf(stderr, "heapwalk: can't write to standard output: %s\n",
			strerror(cli->stdout_errno));
		status = HW_STATUS_OS;
	} else if (!is_warning || !cli->quiet) {
		fprintf(stderr, "heapwalk: %s%s\n", is_warning ? "warning: " : "",
			hw_error_message(err));
	}
	hw_error_destroy(err);
	return status;
}

static int hw_run(struct hw_cli *cli)
{
	struct hw_session *session;
	struct hw_error *err = cli->core  ? hw_session_open_core(cli->core, &cli->options, &session)
			       : cli->pid ? hw_session_open_pid(cli->pid, &cli->options, &session)
					  : hw_session_open_detached(&cli->options, &session);
	if (err)
		return hw_fail(cli, err);
	atomic_store(&hw_interruptible, session);
	struct winsize size = { 0 };
	struct hw_output out = { .write = hw_write_stdout,
				 .payload = cli,
				 .styles = hw_cli_styles(cli->color) };
	if (isatty(STDOUT_FILENO) && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size))
		out.width = size.ws_col;
	// All that a command looks at is then of one copy.
	bool is_held = cli->options.copy && cli->pid;
	if (is_held)
		err = hw_session_stop(session);
	if (!err)
		err = hw_session_run(session, HW_OPTION_STYLE_GNU, cli->argc, cli->argv, &out);
	hw_cli_clear_progress(cli);
	atomic_store(&hw_interruptible, NULL);
	hw_session_close(session);
	return err ? hw_fail(cli, err) : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--complete"))
		return hw_cli_complete(hw_global_options, argc - 2, (const char **)argv + 2);
	struct hw_cli cli = { .options = { .size = sizeof(cli.options) } };
	hw_parse(&cli, argc, argv);
	const struct hw_command *command = hw_cli_find_command(cli.argv[0]);
	if (!command)
		hw_die("there is no command \"%s\": see heapwalk --help", cli.argv[0]);
	if (hw_cli_asks_for_help(cli.argc, cli.argv)) {
		hw_cli_command_help(command);
		free(cli.argv);
		return EXIT_SUCCESS;
	}
	if (command->is_of_session)
		hw_die("%s is for gdb: labels last as long as a session, and heapwalk's ends with "
		       "the "
		       "command; see heapwalk save and heapwalk diff",
		       command->name);
	if (!cli.pid && !cli.core && !command->runs_detached)
		hw_die("no target was given: -p PID or -c CORE (see heapwalk --help)");
	if (cli.pid && cli.core)
		hw_die("-p and -c are two targets: give one of them");
	if (cli.options.copy && (!cli.pid || cli.options.no_stop))
		hw_die("--copy is for a live process that is stopped: not for -c, nor with "
		       "--no-stop");
	if (!cli.quiet && isatty(STDERR_FILENO)) {
		cli.options.progress = hw_show_progress;
		cli.options.progress_payload = &cli;
	}
	hw_catch_signals();
	int status = hw_run(&cli);
	free(cli.argv);
	return status;
}
