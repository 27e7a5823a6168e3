/* The hot part of the video load: what is done for every packet that is sent, and for every packet that comes back.

   In Python it needed as much of a core as the forwarder under test, and was late itself at sixteen rooms; a load that is late
   makes bursts that no call has. One thread, epoll. Lines stay where they are until `media_free`. */

#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "media.h"

enum {
    ROW = 32,     /* datagrams that are read of one line before the others have their turn */
    EVENTS = 16,  /* lines that one call looks at: what is due to be sent waits for no more */
    SAMPLE = 8,   /* of so many packets that arrive, one is opened and its delay read */
    ROOM = 2048,  /* of a datagram */
    NOTES = 64,   /* bytes of what the system notes with a datagram */
    HEADER = 28,  /* RTP's and its extensions, as we send them */
    MID_AT = 17,
    SENT_AT = 19, /* the time of sending, 24 bits of 2^-18 s */
    SEQ_AT = 23,
    OPUS = 111,
    VP8 = 96,
    VP8_RTX = 97,
    SOUND_STAMP_AT = 1, /* in the payload */
    PICTURE_STAMP_AT = 20
};

typedef int srtp(void *session, void *packet, int *length);

struct media {
    srtp *protect, *unprotect;
    struct line *const *lines;
    int poll;
    int64_t reads;
    struct seen seen;
    double *delays_s;
    int32_t delays;
    struct left left[LEFT];
    uint8_t lefts[LEFT][ROOM];
    struct mmsghdr out[PARTS], in[ROW];
    struct iovec out_parts[PARTS], in_parts[ROW];
    uint8_t sending[PARTS][ROOM], reading[ROW][ROOM];
    union {
        struct cmsghdr aligned;
        char bytes[NOTES];
    } notes[ROW];
};

static double clock_s(clockid_t which)
{
    struct timespec now;
    clock_gettime(which, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void write16(uint8_t *to, uint32_t number)
{
    to[0] = (uint8_t)(number >> 8);
    to[1] = (uint8_t)number;
}

static void write32(uint8_t *to, uint32_t number)
{
    write16(to, number >> 16);
    write16(to + 2, number);
}

static int read16(const uint8_t *from)
{
    return from[0] << 8 | from[1];
}

struct media *media_new(struct line *const *lines, int32_t count, void *protect, void *unprotect, double *delays_s,
                        int32_t delays)
{
    struct media *media = calloc(1, sizeof *media);
    if (media == NULL)
        return NULL;
    media->protect = (srtp *)protect;
    media->unprotect = (srtp *)unprotect;
    media->lines = lines;
    media->delays_s = delays_s;
    media->delays = delays;
    media->poll = epoll_create1(EPOLL_CLOEXEC);
    for (int32_t i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        int on = 1;
        setsockopt(lines[i]->descriptor, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
        if (epoll_ctl(media->poll, EPOLL_CTL_ADD, lines[i]->descriptor, &event) != 0) {
            media_free(media);
            return NULL;
        }
    }
    for (int i = 0; i < PARTS; i++) {
        media->out_parts[i].iov_base = media->sending[i];
        media->out[i].msg_hdr.msg_iov = &media->out_parts[i];
        media->out[i].msg_hdr.msg_iovlen = 1;
    }
    for (int i = 0; i < ROW; i++) {
        media->in_parts[i].iov_base = media->reading[i];
        media->in_parts[i].iov_len = ROOM;
        media->in[i].msg_hdr.msg_iov = &media->in_parts[i];
        media->in[i].msg_hdr.msg_iovlen = 1;
    }
    return media;
}

void media_free(struct media *media)
{
    close(media->poll);
    free(media);
}

struct seen *media_seen(struct media *media)
{
    return &media->seen;
}

struct left *media_left(struct media *media)
{
    return media->left;
}

/* ---- sending */

int32_t media_send(struct media *media, struct line *line, const struct frame *frame, const struct told *told)
{
    const char *packet = frame->packets;
    int ready = 0;
    for (int32_t i = 0; i < frame->parts && i < PARTS; i++) {
        uint8_t *out = media->sending[ready];
        int length = frame->bytes[i];
        memcpy(out, packet, (size_t)length);
        packet += length;
        out[0] = 0x90;
        out[1] = (uint8_t)(told->type | (told->is_picture && i == frame->parts - 1 ? 0x80 : 0));
        write16(out + 2, (uint32_t)told->sequence + (uint32_t)i);
        write32(out + 4, told->timestamp);
        write32(out + 8, told->ssrc);
        out[MID_AT] = told->mid;
        line->transport_seq = (line->transport_seq + 1) & 0xFFFF;
        write16(out + SEQ_AT, (uint32_t)line->transport_seq);
        if (told->is_picture)
            write16(out + HEADER + 2, 0x8000U | (told->picture & 0x7FFFU));
        double now_s = clock_s(CLOCK_REALTIME);
        uint32_t sent = (uint32_t)(uint64_t)(now_s * 262144);
        out[SENT_AT] = (uint8_t)(sent >> 16);
        write16(out + SENT_AT + 1, sent & 0xFFFF);
        if (frame->stamp_at >= 0 && length >= frame->stamp_at + (int)sizeof now_s)
            memcpy(out + frame->stamp_at, &now_s, sizeof now_s);
        if (media->protect(line->protect, out, &length) != 0)
            continue;
        media->out_parts[ready++].iov_len = (size_t)length;
    }
    int sent = 0;
    while (sent < ready) {
        int done = sendmmsg(line->descriptor, &media->out[sent], (unsigned)(ready - sent), MSG_DONTWAIT);
        if (done > 0)
            sent += done;
        else if (errno != EINTR)
            break;
    }
    media->seen.sent += sent;
    return sent;
}

/* ---- receiving */

/* Where the element with the transport's number stands; 0: there is none. */
static int find_seq(const uint8_t *packet, int length)
{
    if (length < 16 || !(packet[0] & 0x10) || packet[12] != 0xBE)
        return 0;
    int at = 16, end = 16 + 4 * read16(packet + 14);
    while (at < end && at + 3 <= length) {
        if (packet[at] == 0x31)
            return at;
        at += packet[at] == 0 ? 1 : 2 + (packet[at] & 0x0F);
    }
    return 0;
}

static void count_packet(struct media *media, struct line *line, const uint8_t *packet, int length, double now_s)
{
    if ((packet[1] & 0x7F) != VP8_RTX) {
        media->seen.forwarded++;
        media->seen.pictures += packet[1] == (VP8 | 0x80);
    } else {
        media->seen.repairs++;
    }
    /* A forwarder writes its extensions in one order: nearly always it stands where it stood before. */
    if (line->seq_at + 3 > length || line->seq_at == 0 || packet[line->seq_at] != 0x31)
        line->seq_at = find_seq(packet, length);
    if (line->seq_at == 0)
        return;
    int number = read16(packet + line->seq_at + 1);
    int64_t at = line->newest < 0 ? (int64_t)number + 0x10000 : line->newest + (int16_t)(uint16_t)(number - line->newest);
    if (at > line->newest)
        line->newest = at;
    if (line->count < PENDING) {
        line->numbers[line->count] = at;
        line->times[line->count++] = now_s;
    }
}

/* When the system took the packet for this socket; 0: it does not say. */
static double noted_s(struct msghdr *message)
{
    for (struct cmsghdr *note = CMSG_FIRSTHDR(message); note != NULL; note = CMSG_NXTHDR(message, note)) {
        struct timespec when;
        if (note->cmsg_level == SOL_SOCKET && note->cmsg_type == SCM_TIMESTAMPNS) {
            memcpy(&when, CMSG_DATA(note), sizeof when);
            return (double)when.tv_sec + (double)when.tv_nsec * 1e-9;
        }
    }
    return 0;
}

/* One of the sample: is it genuine, and how long did it take? */
static void open_packet(struct media *media, struct line *line, uint8_t *packet, int length, double came_s)
{
    if (media->unprotect(line->receive, packet, &length) != 0) {
        media->seen.refused++;
        return;
    }
    int type = packet[1] & 0x7F, start = 12 + 4 * (packet[0] & 15);
    if (type == VP8_RTX)
        return;
    if (packet[0] & 0x10)
        start += 4 + 4 * read16(packet + start + 2);
    start += type == OPUS ? SOUND_STAMP_AT : PICTURE_STAMP_AT;
    double sent_s;
    if (start + (int)sizeof sent_s + 4 > length)
        return;
    memcpy(&sent_s, packet + start, sizeof sent_s);
    double took_s = came_s - sent_s;
    if (took_s >= 0 && took_s < 60 && media->seen.delays < media->delays)
        media->delays_s[media->seen.delays++] = took_s;
}

/* Read a row; how many of it are left to Python, behind the `left` that there are. */
static int32_t read_row(struct media *media, int32_t number, int32_t left)
{
    struct line *line = media->lines[number];
    for (int i = 0; i < ROW; i++) {
        struct msghdr *message = &media->in[i].msg_hdr;
        int sampled = (media->reads + i) % SAMPLE == 0;
        message->msg_control = sampled ? media->notes[i].bytes : NULL;
        message->msg_controllen = sampled ? NOTES : 0;
    }
    int count = recvmmsg(line->descriptor, media->in, ROW, MSG_DONTWAIT, NULL);
    double now_s = clock_s(CLOCK_MONOTONIC);
    for (int i = 0; i < count; i++) {
        uint8_t *packet = media->reading[i];
        int length = (int)media->in[i].msg_len;
        media->reads++;
        if (length < 12 || packet[0] < 128 || (packet[1] >= 192 && packet[1] <= 223)) {
            if (length > 0 && left < LEFT) {
                memcpy(media->lefts[left], packet, (size_t)length);
                media->left[left] = (struct left){number, length, (const char *)media->lefts[left]};
                left++;
            }
            continue;
        }
        count_packet(media, line, packet, length, now_s);
        double came_s = media->in[i].msg_hdr.msg_control == NULL ? 0 : noted_s(&media->in[i].msg_hdr);
        if (came_s > 0)
            open_packet(media, line, packet, length, came_s);
    }
    return left;
}

int32_t media_wait(struct media *media, double until_s)
{
    struct epoll_event events[EVENTS];
    double wait_s = until_s - clock_s(CLOCK_MONOTONIC);
    struct timespec wait = {0, 0};
    if (wait_s > 0) {
        wait.tv_sec = (time_t)wait_s;
        wait.tv_nsec = (long)((wait_s - floor(wait_s)) * 1e9);
    }
    int count = epoll_pwait2(media->poll, events, EVENTS, &wait, NULL);
    int32_t left = 0;
    for (int i = 0; i < count && left <= LEFT - ROW; i++)
        left = read_row(media, (int32_t)events[i].data.u32, left);
    return left;
}
