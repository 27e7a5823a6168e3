/* The fast way of a packet from a layer to all who are shown it (ways.py tells why there are two).

   It does what `Slot.forward` and `Slot.send` do for nearly every packet: the newest of its stream, to a receiver whose link has
   room for it. What is otherwise, a packet from before the newest, a link without room or with packets that wait, a receiver
   without keys, a picture that is numbered in seven bits, is left to Python with nothing changed.

   Nothing here reads what a stranger's packet claims of itself but the picture's descriptor, within its length. Lengths are
   checked against the buffers once, where a packet comes in. Nothing is allocated but the fan itself. One thread. */

#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ways.h"

enum {
    BATCH = 64,           /* packets that leave with one call of the system */
    ROOM_BYTES = 2048,    /* a packet, and what protection adds to it */
    PARTS = 40,           /* packets that leave as one, at most */
    SEGMENT_BYTES = 1400, /* the longest packet of these: the system refuses what the path would have to cut */
    NOTE_BYTES = 32
};

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

typedef int protect(void *context, void *packet, int *length);

/* Packets for one receiver that leave as one, which the system, or the network card, cuts again (udp(7), UDP_SEGMENT): all of one
   size, but for the last, which may be shorter. So a picture's packets pass through the system once and not five times. */
struct group {
    int descriptor;
    socklen_t address_bytes;
    uint8_t address[ADDRESS_BYTES];
    int size;
    int parts;
    int open;         /* it takes another one */
    struct iovec *of; /* the first of its packets */
};

struct fan {
    protect *protect, *protect_control;
    struct tally tally;
    int segments; /* the system can cut */
    uint64_t row; /* of this batch: a link knows by it whether its group is of now */
    int count, groups_count;
    int sizes[BATCH], grouped[BATCH];
    struct group groups[BATCH];
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    union {
        struct cmsghdr aligned;
        uint8_t bytes[NOTE_BYTES];
    } notes[BATCH];
    uint8_t packets[BATCH][ROOM_BYTES];
};

_Static_assert(ADDRESS_BYTES >= sizeof(struct sockaddr_in6), "an address fits");
_Static_assert(HEAD_BYTES + BODY_BYTES + 148 <= ROOM_BYTES, "a packet fits with its protection");
_Static_assert(CMSG_SPACE(sizeof(uint16_t)) <= NOTE_BYTES, "a note fits");
_Static_assert(PARTS * SEGMENT_BYTES <= 65000, "what leaves as one fits into a datagram");

/* A system that knows nothing of it would send all as one datagram. */
static int can_cut(void)
{
    int size = 0, descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t bytes = sizeof size;
    if (descriptor < 0)
        return 0;
    int can = getsockopt(descriptor, IPPROTO_UDP, UDP_SEGMENT, &size, &bytes) == 0;
    close(descriptor);
    return can;
}

struct fan *fan_new(void *protect_rtp, void *protect_control)
{
    struct fan *fan = calloc(1, sizeof *fan);
    if (fan == NULL)
        return NULL;
    fan->protect = (protect *)protect_rtp;
    fan->protect_control = (protect *)protect_control;
    fan->segments = can_cut();
    fan->row = 1;
    return fan;
}

void fan_free(struct fan *fan)
{
    free(fan);
}

struct tally *fan_tally(struct fan *fan)
{
    return &fan->tally;
}

/* Write the messages: a group each, its packets in the order in which they came. */
static void gather(struct fan *fan)
{
    struct iovec *next = fan->parts;
    for (int i = 0; i < fan->groups_count; i++) {
        struct group *group = &fan->groups[i];
        struct msghdr *message = &fan->messages[i].msg_hdr;
        group->of = next;
        next += group->parts;
        memset(message, 0, sizeof *message);
        message->msg_name = group->address;
        message->msg_namelen = group->address_bytes;
        message->msg_iov = group->of;
        if (group->parts > 1) {
            message->msg_control = fan->notes[i].bytes;
            message->msg_controllen = CMSG_SPACE(sizeof(uint16_t));
            struct cmsghdr *note = CMSG_FIRSTHDR(message);
            uint16_t size = (uint16_t)group->size;
            note->cmsg_level = IPPROTO_UDP;
            note->cmsg_type = UDP_SEGMENT;
            note->cmsg_len = CMSG_LEN(sizeof size);
            memcpy(CMSG_DATA(note), &size, sizeof size);
        }
    }
    for (int i = 0; i < fan->count; i++) {
        struct msghdr *message = &fan->messages[fan->grouped[i]].msg_hdr;
        message->msg_iov[message->msg_iovlen++] = (struct iovec){fan->packets[i], (size_t)fan->sizes[i]};
    }
}

/* One by one: the path to this receiver would have to cut what is in this group, or the network card has no way to. */
static void send_apart(struct fan *fan, const struct group *group)
{
    for (int i = 0; i < group->parts; i++)
        if (sendto(group->descriptor, group->of[i].iov_base, group->of[i].iov_len, MSG_DONTWAIT,
                   (const struct sockaddr *)group->address, group->address_bytes)
            < 0)
            fan->tally.unsent++;
}

void fan_flush(struct fan *fan)
{
    int at = 0;
    gather(fan);
    while (at < fan->groups_count) {
        /* A socket for each address of ours: nearly always the same one. */
        const struct group *group = &fan->groups[at];
        int until = at + 1;
        while (until < fan->groups_count && fan->groups[until].descriptor == group->descriptor)
            until++;
        int sent = sendmmsg(group->descriptor, &fan->messages[at], (unsigned)(until - at), MSG_DONTWAIT);
        if (sent > 0) {
            at += sent;
        } else if (errno != EINTR) {
            /* Late media is worth less than none: what the system does not take is dropped, and the next one is tried. */
            if (group->parts > 1 && errno != EAGAIN && errno != ENOBUFS)
                send_apart(fan, group);
            else
                fan->tally.unsent += group->parts;
            at++;
        }
    }
    fan->count = fan->groups_count = 0;
    fan->row++;
}

static double monotonic_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* What stands in the next place of the batch is protected: let it wait for the flush. */
static void queue(struct fan *fan, struct link *link, int length)
{
    struct group *group = &fan->groups[link->group];
    if (link->row != fan->row || !group->open || length > group->size) {
        link->row = fan->row;
        link->group = fan->groups_count;
        group = &fan->groups[fan->groups_count++];
        group->descriptor = link->descriptor;
        group->address_bytes = link->address_bytes;
        memcpy(group->address, link->address, ADDRESS_BYTES);
        group->size = length;
        group->parts = 0;
    }
    group->parts++;
    group->open = fan->segments && length == group->size && length <= SEGMENT_BYTES && group->parts < PARTS;
    fan->sizes[fan->count] = length;
    fan->grouped[fan->count] = link->group;
    if (++fan->count == BATCH)
        fan_flush(fan);
}

/* Protect what stands in the next place of the batch, note it for the estimate, and let it wait for the flush. */
static void leave(struct fan *fan, struct link *link, int length, int32_t seq, double now_s)
{
    if (fan->protect(link->srtp, fan->packets[fan->count], &length) != 0)
        return;
    if (seq >= 0) {
        int32_t entry = seq & (RING - 1);
        link->numbers[entry] = seq;
        link->times[entry] = now_s;
        link->sizes[entry] = length;
        link->sent_bytes += length;
        if (link->owed_since_s < 0)
            link->owed_since_s = now_s;
    }
    fan->tally.sent++;
    queue(fan, link, length);
}

/* Where the numbers of a VP8 descriptor stand (RFC 7741, 4.2), as `place_numbers` finds them; 0: it has none. */
struct placed {
    int picture_at, level_at;
    uint16_t picture;
    uint8_t level;
};

/* False: they stand in a way that is left to Python. */
static int place(const uint8_t *body, int end, struct placed *placed)
{
    int at = TURN_BYTES;
    memset(placed, 0, sizeof *placed);
    if (end - at < 3 || !(body[at] & 0x80))
        return 1;
    uint8_t bits = body[at + 1];
    at += 2;
    if (bits & 0x80) {
        if (!(body[at] & 0x80) || at + 1 >= end)
            return 0;
        placed->picture_at = at;
        placed->picture = (uint16_t)((body[at] & 0x7F) << 8 | body[at + 1]);
        at += 2;
    }
    if (bits & 0x40 && at < end) {
        placed->level_at = at;
        placed->level = body[at];
    }
    return 1;
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

int32_t fan_out(struct fan *fan, struct line *const *lines, int32_t count, const struct packet *packet, const char *body,
                int32_t body_bytes, double now_s, int32_t *left)
{
    int32_t lefts = 0;
    int fits = body_bytes >= TURN_BYTES && body_bytes <= BODY_BYTES;
    struct placed placed;
    int is_placed = fits && place((const uint8_t *)body, body_bytes, &placed);
    double leaves_s = monotonic_s();
    for (int32_t i = 0; i < count; i++) {
        struct line *line = lines[i];
        struct link *link = line->link;
        if (packet->at < line->since)
            continue;
        int64_t number = packet->at + line->shift;
        int shifts = line->pictures != 0 || line->levels != 0;
        double room = link->room + (now_s - link->filled_s) * link->bytes_per_s;
        if (room > link->most)
            room = link->most;
        if (!fits || number <= line->newest || link->srtp == NULL || (shifts && !is_placed)
            || (line->paced && (room <= 0 || link->held_bytes != 0))) {
            left[lefts++] = i;
            continue;
        }
        int size = HEAD_BYTES + body_bytes;
        link->room = room - size;
        link->filled_s = now_s;
        line->newest = number;
        line->timestamp = packet->timestamp + line->timestamp_shift;
        line->sent_s = now_s;
        if (number > line->sent)
            line->sent = number;
        link->seq = (link->seq + 1) & 0xFFFF;

        uint8_t *out = fan->packets[fan->count];
        out[0] = packet->first;
        out[1] = packet->marker_type;
        write16(out + 2, (uint32_t)(number & 0xFFFF));
        write32(out + 4, line->timestamp);
        write32(out + 8, line->ssrc);
        memcpy(out + 12, line->prefix, PREFIX_BYTES);
        write16(out + 12 + PREFIX_BYTES, (uint32_t)link->seq);
        memcpy(out + HEAD_BYTES, body, (size_t)body_bytes);
        if (shifts && placed.picture_at)
            write16(out + HEAD_BYTES + placed.picture_at,
                    0x8000U | (((uint32_t)placed.picture + (uint32_t)line->pictures) & 0x7FFFU));
        if (shifts && placed.level_at)
            out[HEAD_BYTES + placed.level_at] = (uint8_t)(placed.level + (uint32_t)line->levels);
        line->packets++;
        line->octets += body_bytes - TURN_BYTES;
        leave(fan, link, size, link->seq, leaves_s);
    }
    return lefts;
}

void fan_send(struct fan *fan, struct link *link, const char *packet, int32_t packet_bytes, int32_t seq)
{
    if (link->srtp == NULL || packet_bytes <= 0 || packet_bytes > HEAD_BYTES + BODY_BYTES)
        return;
    memcpy(fan->packets[fan->count], packet, (size_t)packet_bytes);
    leave(fan, link, packet_bytes, seq, monotonic_s());
}

void fan_send_control(struct fan *fan, struct link *link, const char *packet, int32_t packet_bytes)
{
    int length = packet_bytes;
    if (link->srtp == NULL || packet_bytes <= 0 || packet_bytes > BODY_BYTES)
        return;
    memcpy(fan->packets[fan->count], packet, (size_t)packet_bytes);
    if (fan->protect_control(link->srtp, fan->packets[fan->count], &length) == 0)
        queue(fan, link, length);
}
