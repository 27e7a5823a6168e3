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

#include "ways.h"

enum {
    BATCH = 16,       /* packets that leave with one call of the system: more would gain nothing, and wait longer */
    ROOM_BYTES = 2048 /* a packet, and what protection adds to it */
};

typedef int protect(void *context, void *packet, int *length);

struct fan {
    protect *protect, *protect_control;
    struct tally tally;
    int count;
    int descriptors[BATCH];
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    uint8_t addresses[BATCH][ADDRESS_BYTES];
    uint8_t packets[BATCH][ROOM_BYTES];
};

_Static_assert(ADDRESS_BYTES >= sizeof(struct sockaddr_in6), "an address fits");
_Static_assert(HEAD_BYTES + BODY_BYTES + 148 <= ROOM_BYTES, "a packet fits with its protection");

struct fan *fan_new(void *protect_rtp, void *protect_control)
{
    struct fan *fan = calloc(1, sizeof *fan);
    if (fan == NULL)
        return NULL;
    fan->protect = (protect *)protect_rtp;
    fan->protect_control = (protect *)protect_control;
    for (int i = 0; i < BATCH; i++) {
        fan->parts[i].iov_base = fan->packets[i];
        fan->messages[i].msg_hdr.msg_iov = &fan->parts[i];
        fan->messages[i].msg_hdr.msg_iovlen = 1;
        fan->messages[i].msg_hdr.msg_name = fan->addresses[i];
    }
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

void fan_flush(struct fan *fan)
{
    int at = 0;
    while (at < fan->count) {
        /* A socket for each address of ours: nearly always the same one. */
        int until = at + 1;
        while (until < fan->count && fan->descriptors[until] == fan->descriptors[at])
            until++;
        int sent = sendmmsg(fan->descriptors[at], &fan->messages[at], (unsigned)(until - at), MSG_DONTWAIT);
        if (sent > 0) {
            at += sent;
        } else if (errno != EINTR) {
            /* Late media is worth less than none: what the system does not take is dropped, and the next one is tried. */
            fan->tally.unsent++;
            at++;
        }
    }
    fan->count = 0;
}

static double monotonic_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* What stands in the next place of the batch is protected: let it wait for the flush. */
static void queue(struct fan *fan, const struct link *link, int length)
{
    int place = fan->count;
    memcpy(fan->addresses[place], link->address, ADDRESS_BYTES);
    fan->messages[place].msg_hdr.msg_namelen = link->address_bytes;
    fan->parts[place].iov_len = (size_t)length;
    fan->descriptors[place] = link->descriptor;
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
