/* What the parts of the load generator share: options, a client, a mode. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "util.h"
#include "ws.h"

struct options {
    const char *mode;
    int port, pid;         /* the server's port, and its process (for its CPU time) */
    int first_port;        /* client 0 connects to this one; 0: to the same */
    int connections;       /* how many clients */
    int concurrency;       /* how many of them may be between connect and joined at once */
    int rooms;             /* client i joins task first_task + i % rooms */
    long first_task;
    int slow_every;        /* every n-th client never reads once the streams begin; 0: none */
    int receive_buffer;    /* SO_RCVBUF of the slow clients; 0: the system's */
    int size;              /* characters of one token: '@', 16 hexadecimal digits of nanoseconds, padding */
    long count;            /* tokens a stream */
    double rate;           /* tokens/s of each stream, or joins/s; 0: as fast as it goes */
    double warm, seconds;  /* s after the start that are left out; s that are measured */
    double limit;          /* give up so many s after the start */
    double stay;           /* joins: how long a client that joined stays, s */
    double ramp;           /* chat: the sends are spread over this, s */
    long preload;          /* joins: characters in the stream before the first client joins it */
    int team;              /* chat:send's team_id */
    bool runs;             /* watch: the streams are runs of their tasks, for a server that tells them apart */
    bool window;           /* watch: tell the phases `steady` and `over`, at warm and at warm + seconds */
    bool pause;            /* wait for a line on standard input after each phase, so that memory can be read */
};

#define STREAMS_PER_CLIENT 4
struct stream {
    long long subtask;
    uint64_t next;         /* the offset that the next chunk must have */
};

enum client_state { CLIENT_NEW, CLIENT_CONNECTING, CLIENT_CONNECTED, CLIENT_JOINED, CLIENT_GONE };

struct client {
    struct ws ws; /* first, so that a ws is its client */
    enum client_state state;
    int index;
    long task;
    bool slow;
    bool unchecked;                /* it was there before the text that it will be sent: no judge of order */
    uint64_t opened_at, asked_at;  /* connect; the last event sent with an ack wanted */
    unsigned next_ack;
    struct stream streams[STREAMS_PER_CLIENT];
    int stream_count;
    uint64_t characters;           /* of all chunks, repeats and gaps not counted */
    bool finished;
};

/* A mode gets these calls; any may be NULL but `start` and `done`. */
struct mode {
    const char *name;
    void (*start)(void);                                                     /* all have joined */
    bool (*done)(uint64_t now);                                              /* asked often; may also do timed work */
    void (*acked)(struct client *c, const char *json, size_t length);        /* after the join's */
    void (*event)(struct client *c, const char *name, size_t name_length, const char *json, size_t length);
    void (*joined)(struct client *c, const char *json, size_t length);
    void (*gone)(struct client *c);
    void (*report)(FILE *out);
};

extern struct options options;
extern const struct mode *mode;
extern struct client *clients;
extern int client_room; /* clients allotted, the ones that join later included */
extern uint64_t started_at;

/* socketio.c */
void client_open(struct client *c);
void client_emit(struct client *c, bool want_ack, const char *json, size_t length);
void open_all(void);     /* opens options.connections clients and begins `open_done` */
bool open_done(void);
void open_report(FILE *out);

/* main.c */
void work(int timeout_ms); /* one turn of the event loop */
void phase(const char *name); /* told on standard output; with --pause, until somebody says go on */
struct client *client_at(int index);
void authenticate_with(const char *path);
const char *token_of(int index);
struct ws_target *target(void);

/* streams.c: order, loss, repeats, latency of chat:chunk */
void streams_begin(struct client *c, const char *json, size_t length); /* from the ack of task:join */
void streams_chunk(struct client *c, const char *json, size_t length);
void streams_end(struct client *c, const char *json, size_t length);   /* chat:done: the offset must be ours */
void streams_window(uint64_t from, uint64_t to); /* only tokens written in it count for latency */
void streams_report(FILE *out);
uint64_t streams_tokens(void); /* so far, of all clients */
struct stream_totals {
    uint64_t messages, characters, gaps, lost, repeats, malformed;
    uint64_t first_at, last_at;
};
extern struct stream_totals totals;

/* mode_watch.c: asks the server to stream into tasks base .. base + rooms - 1; keep: and to hold the text for joins */
void bench_start(struct client *control, long base, int rooms, bool keep);

extern const struct mode mode_watch, mode_echo, mode_idle, mode_joins, mode_send, mode_chat;

#endif
