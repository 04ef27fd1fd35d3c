/* Load generator: N Socket.IO clients on one epoll set in one thread. Prints JSON: one line a phase, the last the result. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

struct options options = {
    .mode = "idle", .connections = 1, .concurrency = 32, .rooms = 1, .first_task = 1, .size = 96, .count = 100,
    .seconds = 5, .limit = 60, .stay = 1, .team = 1,
};
const struct mode *mode;
struct client *clients;
int client_room;
uint64_t started_at;

static const struct mode *const modes[] = {&mode_watch, &mode_echo, &mode_idle, &mode_joins, &mode_send, &mode_chat};
static struct ws_target the_target = {.path = "/socket.io/?EIO=4&transport=websocket"};
static char **tokens;
static int token_count;
static bool input_watched;

struct ws_target *target(void)
{
    return &the_target;
}

const char *token_of(int index)
{
    return tokens[(options.rooms > 1 ? index % options.rooms : index) % token_count]; /* a task's clients are one user's */
}

void authenticate_with(const char *path)
{
    FILE *f = fopen(path, "r");
    char line[2048];
    if (!f)
        die("%s: %s", path, strerror(errno));
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = 0;
        tokens = realloc(tokens, sizeof *tokens * (size_t)(token_count + 1));
        tokens[token_count++] = strdup(line);
    }
    fclose(f);
    if (!token_count)
        die("%s holds no token", path);
}

struct client *client_at(int index)
{
    struct client *c = &clients[index];
    c->index = index;
    c->task = options.first_task + index % options.rooms;
    return c;
}

void work(int timeout_ms)
{
    static struct epoll_event events[512];
    int n = epoll_wait(the_target.epoll, events, 512, timeout_ms);
    for (int i = 0; i < n; i++)
        if (events[i].data.ptr)
            ws_handle(events[i].data.ptr, events[i].events);
}

static bool input_came(void)
{
    struct epoll_event e = {.events = EPOLLIN};
    if (!input_watched) {
        epoll_ctl(the_target.epoll, EPOLL_CTL_ADD, 0, &e);
        input_watched = true;
    }
    fd_set set;
    struct timeval none = {0};
    FD_ZERO(&set);
    FD_SET(0, &set);
    return select(1, &set, NULL, NULL, &none) > 0;
}

void phase(const char *name)
{
    char line[64];
    printf("{\"phase\": \"%s\"}\n", name);
    fflush(stdout);
    if (!options.pause)
        return;
    while (!input_came())
        work(20);
    if (read(0, line, sizeof line) <= 0)
        options.pause = false;
}

static void run(void)
{
    double server_cpu, own_cpu;
    while (!open_done())
        work(1000);
    phase("joined");
    server_cpu = cpu_seconds(options.pid);
    own_cpu = cpu_seconds(0);
    started_at = now_ns();
    mode->start();
    while (!mode->done(now_ns()) && (double)(now_ns() - started_at) / 1e9 < options.limit)
        work(1);
    double seconds = (double)(now_ns() - started_at) / 1e9;
    server_cpu = cpu_seconds(options.pid) - server_cpu;
    own_cpu = cpu_seconds(0) - own_cpu;
    phase("end");
    printf("{\"mode\": \"%s\", ", mode->name);
    open_report(stdout);
    printf(", \"seconds\": %.4f, \"server_cpu\": %.2f, \"load_cpu\": %.2f, ", seconds, server_cpu, own_cpu);
    mode->report(stdout);
    printf("}\n");
}

enum { PORT = 256, PID, TOKENS, CONNECTIONS, CONCURRENCY, ROOMS, FIRST_TASK, SLOW, RCVBUF, SIZE, COUNT, RATE, WARM, SECONDS,
       LIMIT, STAY, RAMP, PRELOAD, TEAM, PAUSE, FIRST_PORT, RUNS, WINDOW };
static const struct option names[] = {
    {"port", 1, 0, PORT}, {"pid", 1, 0, PID}, {"tokens", 1, 0, TOKENS}, {"connections", 1, 0, CONNECTIONS},
    {"concurrency", 1, 0, CONCURRENCY}, {"rooms", 1, 0, ROOMS}, {"first-task", 1, 0, FIRST_TASK},
    {"slow-every", 1, 0, SLOW}, {"receive-buffer", 1, 0, RCVBUF}, {"size", 1, 0, SIZE}, {"count", 1, 0, COUNT},
    {"rate", 1, 0, RATE}, {"warm", 1, 0, WARM}, {"seconds", 1, 0, SECONDS}, {"limit", 1, 0, LIMIT}, {"stay", 1, 0, STAY},
    {"ramp", 1, 0, RAMP}, {"preload", 1, 0, PRELOAD}, {"team", 1, 0, TEAM}, {"pause", 0, 0, PAUSE},
    {"first-port", 1, 0, FIRST_PORT}, {"runs", 0, 0, RUNS}, {"window", 0, 0, WINDOW}, {0, 0, 0, 0},
};

static void parse(int argc, char **argv)
{
    for (int o; (o = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (o) {
        case PORT: options.port = atoi(optarg); break;
        case PID: options.pid = atoi(optarg); break;
        case TOKENS: authenticate_with(optarg); break;
        case CONNECTIONS: options.connections = atoi(optarg); break;
        case CONCURRENCY: options.concurrency = atoi(optarg); break;
        case ROOMS: options.rooms = atoi(optarg); break;
        case FIRST_TASK: options.first_task = atol(optarg); break;
        case SLOW: options.slow_every = atoi(optarg); break;
        case RCVBUF: options.receive_buffer = atoi(optarg); break;
        case SIZE: options.size = atoi(optarg); break;
        case COUNT: options.count = atol(optarg); break;
        case RATE: options.rate = atof(optarg); break;
        case WARM: options.warm = atof(optarg); break;
        case SECONDS: options.seconds = atof(optarg); break;
        case LIMIT: options.limit = atof(optarg); break;
        case STAY: options.stay = atof(optarg); break;
        case RAMP: options.ramp = atof(optarg); break;
        case PRELOAD: options.preload = atol(optarg); break;
        case TEAM: options.team = atoi(optarg); break;
        case PAUSE: options.pause = true; break;
        case FIRST_PORT: options.first_port = atoi(optarg); break;
        case RUNS: options.runs = true; break;
        case WINDOW: options.window = true; break;
        default: exit(2);
        }
    }
    if (optind != argc - 1)
        die("usage: load --port N --tokens FILE [--option VALUE]... MODE   (the options are in main.c)");
    options.mode = argv[optind];
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(modes[i]->name, options.mode))
            mode = modes[i];
    if (!mode || !token_count || !options.port || options.size < 17)
        die("needed: a known mode, --port, --tokens, --size of at least 17");
}

int main(int argc, char **argv)
{
    struct rlimit files = {200000, 200000};
    parse(argc, argv);
    if (setrlimit(RLIMIT_NOFILE, &files) < 0) {
        getrlimit(RLIMIT_NOFILE, &files);
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    the_target.epoll = epoll_create1(0);
    client_room = options.connections + (mode == &mode_joins ? (int)(options.rate * (options.seconds + 1)) + 1 : 0);
    clients = calloc((size_t)client_room, sizeof *clients);
    open_all();
    run();
    return 0;
}
