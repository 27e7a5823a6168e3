/* The load: reads thousands of open WebSocket connections and publishes frames made beforehand. One thread, epoll.
 *
 * It knows no protocol. Its caller opened every connection, subscribed and signed in, and hands the descriptors over.
 * Every message carries MARK and eight hexadecimal digits, its number, somewhere in what a receiver sees (in the payload,
 * or for sealed payloads in the message id), so deliveries are found by scanning what arrives, whatever wraps it.
 *
 * Standard input, words in any order, `go` last:
 *   pid P            the server, for its processor time
 *   window W         messages in flight: the next one goes out when all readers have one (with no readers: one answer)
 *   rate R           instead of a window: R messages a second
 *   warm S, measure S, drain S   seconds before, of, and at most after the measured time
 *   ack none|text|binary   answers on the publishers: none wanted; MARK and number; 0x95 0x28 0xce and a big-endian number
 *   first N, ackbase N     the number of the first frame, and what answers add to it
 *   stalled K        the first K readers are never read
 *   subs N fd...     readers          pubs N fd...   publishers; frame i goes to publisher i modulo N, or to who is answered
 *   frames PATH      each frame as a native uint32 of its length and its bytes
 * Standard output: one JSON object.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MARK "@@LS@@"
#define MARK_BYTES 6
#define DIGITS 8
#define FOUND_BYTES (MARK_BYTES + DIGITS)
#define ACK "\x95\x28\xce"
#define ACK_BYTES 3
#define ACK_FOUND 7
#define READ_BYTES (256 * 1024)
#define SEND_WAIT_MS 5000

enum ack_kind { ACK_NONE, ACK_TEXT, ACK_BINARY };

struct connection {
    int fd;
    int publisher;
    int carried;
    char carry[FOUND_BYTES];
};

static int pid, window, stalled, nsubs, npubs, measuring, publishing = 1, exhausted;
static uint32_t first, ackbase;
static double rate, warm = 0.5, measure = 3, drain = 3;
static enum ack_kind ack = ACK_NONE;
static struct connection *subs, *pubs;
static char *frames_path;
static const char *frames;
static size_t *starts;
static uint32_t nframes, published;
static uint64_t *sent_ns, *read_us, *ack_us;
static uint64_t deliveries, acks, nread, nack, capacity;
static char buffer[READ_BYTES + FOUND_BYTES];

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double server_cpu_s(void) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (!f) return -1;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    char *after = strrchr(text, ')');
    unsigned long user, system;
    if (!after || sscanf(after + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2) return -1;
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static void publish(struct connection *to) {
    if (!publishing) return;
    if (published >= nframes) {
        exhausted = 1;
        return;
    }
    const char *at = frames + starts[published];
    uint32_t left;
    memcpy(&left, at, 4);
    at += 4;
    sent_ns[published] = now_ns();
    while (left) {
        ssize_t n = send(to->fd, at, left, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd p = {.fd = to->fd, .events = POLLOUT};
            if (poll(&p, 1, SEND_WAIT_MS) <= 0) fail("the server takes no more of a publisher");
            continue;
        }
        if (n < 0) fail("send");
        at += n;
        left -= (uint32_t)n;
    }
    published++;
}

static void keep(uint64_t *into, uint64_t *count, uint32_t number, uint64_t at_ns) {
    if (measuring && *count < capacity && number < published) into[(*count)++] = (at_ns - sent_ns[number]) / 1000;
}

static uint32_t digits(const char *at) {
    uint32_t value = 0;
    for (int i = 0; i < DIGITS; i++) value = value * 16 + (uint32_t)(at[i] <= '9' ? at[i] - '0' : (at[i] | 32) - 'a' + 10);
    return value;
}

/* Counts what is in the bytes; returns how many of them are dealt with. */
static size_t scan(struct connection *c, char *from, size_t size, uint64_t at_ns) {
    char *at = from, *end = from + size;
    int binary = c->publisher && ack == ACK_BINARY;
    for (;;) {
        char *found = memmem(at, (size_t)(end - at), binary ? ACK : MARK, binary ? ACK_BYTES : MARK_BYTES);
        size_t whole = binary ? ACK_FOUND : FOUND_BYTES;
        if (!found || found + whole > end) return (size_t)((found ? found : at) - from);
        at = found + whole;
        if (!c->publisher) {
            deliveries++;
            keep(read_us, &nread, digits(found + MARK_BYTES) - first, at_ns);
            continue;
        }
        uint32_t number;
        if (binary) {
            const unsigned char *b = (const unsigned char *)found + ACK_BYTES;
            number = ((uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]) - ackbase;
        } else number = digits(found + MARK_BYTES);
        if (number - first >= published) continue;
        acks++;
        keep(ack_us, &nack, number - first, at_ns);
        if (window && !nsubs) publish(c);
    }
}

static void read_all(struct connection *c) {
    for (;;) {
        memcpy(buffer, c->carry, (size_t)c->carried);
        ssize_t n = recv(c->fd, buffer + c->carried, READ_BYTES, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n < 0) fail("recv");
        if (n == 0) {
            fprintf(stderr, "load: the server closed a connection\n");
            exit(1);
        }
        size_t size = (size_t)c->carried + (size_t)n, done = 0;
        if (!c->publisher || ack != ACK_NONE) done = scan(c, buffer, size, now_ns());
        size_t left = size - done;
        if (left > FOUND_BYTES - 1) left = FOUND_BYTES - 1;
        memcpy(c->carry, buffer + size - left, left);
        c->carried = (int)left;
        if (n < READ_BYTES) return;
    }
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile_us(uint64_t *values, uint64_t count, double share) {
    if (!count) return 0;
    return (double)values[(uint64_t)((double)(count - 1) * share)];
}

static struct connection *read_fds(int count, int publisher) {
    struct connection *made = calloc((size_t)count + 1, sizeof *made);
    for (int i = 0; i < count; i++) {
        if (scanf("%d", &made[i].fd) != 1) fail("descriptors");
        made[i].publisher = publisher;
    }
    return made;
}

static void read_orders(void) {
    char word[32], value[32];
    while (scanf("%31s", word) == 1 && strcmp(word, "go")) {
        int ok = 1;
        if (!strcmp(word, "pid")) ok = scanf("%d", &pid);
        else if (!strcmp(word, "window")) ok = scanf("%d", &window);
        else if (!strcmp(word, "rate")) ok = scanf("%lf", &rate);
        else if (!strcmp(word, "warm")) ok = scanf("%lf", &warm);
        else if (!strcmp(word, "measure")) ok = scanf("%lf", &measure);
        else if (!strcmp(word, "drain")) ok = scanf("%lf", &drain);
        else if (!strcmp(word, "first")) ok = scanf("%u", &first);
        else if (!strcmp(word, "ackbase")) ok = scanf("%u", &ackbase);
        else if (!strcmp(word, "stalled")) ok = scanf("%d", &stalled);
        else if (!strcmp(word, "frames")) ok = scanf("%ms", &frames_path);
        else if (!strcmp(word, "subs")) { ok = scanf("%d", &nsubs); subs = read_fds(nsubs, 0); }
        else if (!strcmp(word, "pubs")) { ok = scanf("%d", &npubs); pubs = read_fds(npubs, 1); }
        else if (!strcmp(word, "ack")) {
            ok = scanf("%31s", value);
            ack = !strcmp(value, "text") ? ACK_TEXT : !strcmp(value, "binary") ? ACK_BINARY : ACK_NONE;
        } else ok = 0;
        if (ok != 1) {
            fprintf(stderr, "load: what is `%s`?\n", word);
            exit(2);
        }
    }
}

static void map_frames(void) {
    int fd = open(frames_path, O_RDONLY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st)) fail(frames_path);
    frames = mmap(0, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (frames == MAP_FAILED) fail(frames_path);
    size_t room = 1024;
    starts = malloc(room * sizeof *starts);
    for (size_t at = 0; at + 4 <= (size_t)st.st_size; nframes++) {
        uint32_t size;
        if (nframes == room) starts = realloc(starts, (room *= 2) * sizeof *starts);
        starts[nframes] = at;
        memcpy(&size, frames + at, 4);
        at += 4 + size;
    }
    sent_ns = calloc(nframes, sizeof *sent_ns);
}

static void watch(int ep, struct connection *c) {
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e)) fail("epoll_ctl");
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    read_orders();
    map_frames();
    uint64_t readers = (uint64_t)(nsubs - stalled);
    capacity = 4u << 20;
    read_us = malloc(capacity * 8);
    ack_us = malloc(capacity * 8);
    int ep = epoll_create1(0);
    for (int i = stalled; i < nsubs; i++) watch(ep, &subs[i]);
    for (int i = 0; i < npubs; i++) watch(ep, &pubs[i]);
    static struct epoll_event events[1024];
    uint64_t begun = now_ns(), from = begun + (uint64_t)(warm * 1e9), to = from + (uint64_t)(measure * 1e9), began_ns = 0, ended_ns = 0;
    uint64_t deliveries0 = 0, acks0 = 0, published0 = 0;
    double cpu0 = 0, cpu1 = 0;
    clock_t own0 = 0, own1 = 0;
    if (window && !nsubs) for (int i = 0; i < window; i++) publish(&pubs[i % npubs]);
    for (;;) {
        uint64_t now = now_ns();
        if (!measuring && !ended_ns && now >= from) {
            measuring = 1;
            deliveries0 = deliveries, acks0 = acks, published0 = published;
            cpu0 = server_cpu_s(), own0 = clock(), began_ns = now_ns();
        }
        int over = now >= to || (exhausted && measuring && (nsubs ? deliveries >= published * readers : acks >= published));
        if (measuring && over) {
            measuring = publishing = 0;
            ended_ns = now_ns(), cpu1 = server_cpu_s(), own1 = clock();
            deliveries0 = deliveries - deliveries0, acks0 = acks - acks0, published0 = published - published0;
        }
        if (ended_ns && ((nsubs ? deliveries >= published * readers : ack == ACK_NONE || acks >= published) || now > ended_ns + (uint64_t)(drain * 1e9))) break;
        int wait_ms = 20;
        if (publishing && rate > 0) {
            uint64_t due = (uint64_t)((double)(now - begun) / 1e9 * rate);
            for (int i = 0; published < due && !exhausted && i < 64; i++) publish(&pubs[published % (uint32_t)npubs]);
            wait_ms = 0;
            double next = ((double)published + 1) / rate * 1e9 - (double)(now_ns() - begun);
            if (next > 2e6) wait_ms = 1;
        } else if (publishing && nsubs) {
            while (!exhausted && published * readers < deliveries + (uint64_t)window * readers) publish(&pubs[published % (uint32_t)npubs]);
        }
        int n = epoll_wait(ep, events, 1024, wait_ms);
        for (int i = 0; i < n; i++) read_all(events[i].data.ptr);
    }
    qsort(read_us, nread, 8, by_value);
    qsort(ack_us, nack, 8, by_value);
    long long missing = nsubs ? (long long)(published * readers) - (long long)deliveries : ack == ACK_NONE ? 0 : (long long)published - (long long)acks;
    printf("{\"elapsed_s\":%.6f,\"published\":%llu,\"deliveries\":%llu,\"acks\":%llu,\"cpu_s\":%.3f,\"load_cpu_s\":%.3f,"
           "\"read_p50_us\":%.0f,\"read_p99_us\":%.0f,\"ack_p50_us\":%.0f,\"ack_p99_us\":%.0f,\"missing\":%lld,\"used\":%u}\n",
           (double)(ended_ns - began_ns) / 1e9, (unsigned long long)published0, (unsigned long long)deliveries0, (unsigned long long)acks0,
           cpu1 - cpu0, (double)(own1 - own0) / CLOCKS_PER_SEC, percentile_us(read_us, nread, .5), percentile_us(read_us, nread, .99),
           percentile_us(ack_us, nack, .5), percentile_us(ack_us, nack, .99), missing, published);
    return 0;
}
