/* The fast way of a datagram from the socket to all who are shown what it carries (ways.py tells why there are two).

   It does what `Port.taken`, `Peer.media`, `Uplink.receive_rtp`, `Layer.receive` and `SealGate.admit` do for nearly every packet:
   the next one of a stream that is known, from a peer that is live, of a frame that has the gate's trust, or whose packets are
   held until its last one shows that it is sealed. Whatever is otherwise, and all that is no media, is left to Python with nothing
   changed: there the rules are written down.

   What is read here of a stranger's datagram is its address, length and first byte. Of a known peer's the head is read
   before it is opened, each length within the datagram; nothing changes before libsrtp has found it genuine. One thread. */

#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "ways.h"

#ifndef WAYS_SOURCES
#define WAYS_SOURCES ""
#endif

enum {
    ROW = 64,            /* datagrams that are read with one call of the system, before others have their turn */
    ROOM = 2048,         /* of a datagram: what is longer is cut, and refused as too long */
    PACKET_BYTES = 1500, /* the longest packet */
    HEADER_BYTES = 12,
    TRANSPORT_SEQ = 3, /* ids of header extensions (leeside_protocol.video.formats) */
    ORIENTATION = 7,
    TRAILER_BYTES = 4 /* of a sealed frame */
};

/* As in seal.py. */
enum { HELD = 0, TRUSTED = 1, SEALED = 2, DROPPED = 3 };
static const double TRUST_S = 2.0;
static const uint8_t MARK[3] = {'L', 'S', 1};

typedef int unprotect_rtp(void *context, void *packet, int *length);

struct place {
    struct door *door; /* NULL: it is free */
    uint8_t address[ADDRESS_BYTES];
};

struct face {
    int descriptor;
    uint32_t mask;
    struct place *places; /* NULL: nobody is known */
};

struct intake {
    unprotect_rtp *unprotect;
    struct fan *fan;
    struct tally *tally;
    struct face *face;
    int count, at;
    double now_s;
    struct found found;
    struct kept *releasing; /* what is still to go on of a frame, to whom `of` flows, at `now_s` */
    struct stream *of;
    double released_s;
    struct mmsghdr messages[ROW];
    struct iovec parts[ROW];
    uint8_t addresses[ROW][ADDRESS_BYTES];
    uint8_t datagrams[ROW][ROOM];
};

_Static_assert(ADDRESS_BYTES >= sizeof(struct sockaddr_in6), "an address fits");
_Static_assert(PACKET_BYTES + TURN_BYTES <= BODY_BYTES, "what a packet carries is a body");

const char *ways_sources(void)
{
    return WAYS_SOURCES;
}

/* ---- who is known */

struct face *face_new(int32_t descriptor)
{
    struct face *face = calloc(1, sizeof *face);
    if (face != NULL)
        face->descriptor = descriptor;
    return face;
}

void face_free(struct face *face)
{
    free(face->places);
    free(face);
}

/* Where this address is, or could be put: FNV-1a, then the next that is free. At most half of the places are taken. */
static struct place *find(const struct face *face, const uint8_t *address)
{
    uint32_t hash = 2166136261U;
    for (int i = 0; i < ADDRESS_BYTES; i++)
        hash = (hash ^ address[i]) * 16777619U;
    for (uint32_t at = (hash ^ hash >> 16) & face->mask;; at = (at + 1) & face->mask) {
        struct place *place = &face->places[at];
        if (place->door == NULL || memcmp(place->address, address, ADDRESS_BYTES) == 0)
            return place;
    }
}

int32_t face_know(struct face *face, int32_t count, const char *addresses, struct door *const *doors)
{
    uint32_t places = 16;
    while (places < 2U * (uint32_t)count)
        places *= 2;
    free(face->places);
    face->mask = places - 1;
    face->places = calloc(places, sizeof *face->places);
    if (face->places == NULL)
        return -1;
    for (int32_t i = 0; i < count; i++) {
        const uint8_t *address = (const uint8_t *)addresses + (size_t)i * ADDRESS_BYTES;
        struct place *place = find(face, address);
        place->door = doors[i];
        memcpy(place->address, address, ADDRESS_BYTES);
    }
    return 0;
}

/* ---- what a packet says of itself (RFC 3550, RFC 8285), as `RtpHeader.read` finds it */

struct head {
    uint8_t first, marker_type;
    uint16_t sequence;
    uint32_t timestamp, ssrc;
    int start;
    int transport_seq, orientation; /* below 0: it has none */
};

static uint32_t read16(const uint8_t *from)
{
    return (uint32_t)from[0] << 8 | from[1];
}

static uint32_t read32(const uint8_t *from)
{
    return read16(from) << 16 | read16(from + 2);
}

/* False: it is not RTP, or has what is left to Python. */
static int read_head(const uint8_t *packet, int length, struct head *head)
{
    if (length < HEADER_BYTES || (packet[0] & 0xC0) != 0x80)
        return 0;
    head->first = packet[0];
    head->marker_type = packet[1];
    head->sequence = (uint16_t)read16(packet + 2);
    head->timestamp = read32(packet + 4);
    head->ssrc = read32(packet + 8);
    head->transport_seq = head->orientation = -1;
    int start = HEADER_BYTES + (packet[0] & 0x0F) * 4;
    if (packet[0] & 0x10) {
        int at = start + 4;
        if (at > length || read16(packet + start) != 0xBEDE)
            return 0;
        start = at + (int)read16(packet + start + 2) * 4;
        if (start > length)
            return 0;
        while (at < start) {
            uint8_t byte = packet[at++];
            if (byte == 0)
                continue;
            int name = byte >> 4, size = (byte & 0x0F) + 1;
            if (name == 0 || name == 15 || at + size > start)
                return 0;
            if (name == TRANSPORT_SEQ && size == 2)
                head->transport_seq = (int)read16(packet + at);
            else if (name == ORIENTATION && size == 1)
                head->orientation = packet[at];
            at += size;
        }
    }
    if (start > length)
        return 0;
    head->start = start;
    return 1;
}

/* Whose packet it is, if it is the next one of a stream and within the bounds; NULL: it is Python's. */
static struct stream *expects(const struct uplink *uplink, const struct head *head, double now_s)
{
    if (uplink->left < 1 && now_s - uplink->began_s < 1.0)
        return NULL;
    for (int i = 0; i < uplink->count; i++) {
        struct stream *stream = uplink->streams[i];
        if (uplink->ssrcs[i] != head->ssrc)
            continue;
        uint8_t type = head->marker_type & 0x7F;
        if (stream->newest < 0 || head->sequence != ((stream->newest + 1) & 0xFFFF) || stream->count > MOST_LINES
            || (type != stream->types[0] && type != stream->types[1]))
            return NULL;
        return stream;
    }
    return NULL;
}

/* ---- the gate */

static int is_sealed(const uint8_t *payload, int length)
{
    return length >= TRAILER_BYTES && memcmp(payload + length - sizeof MARK, MARK, sizeof MARK) == 0;
}

/* `begins_key_frame` of leeside_protocol (RFC 7741). */
static int begins_key(const uint8_t *payload, int length)
{
    if (length < 2 || (payload[0] & 0x17) != 0x10)
        return 0;
    int at = 1;
    if (payload[0] & 0x80) {
        uint8_t flags = payload[1];
        at = 2;
        if (flags & 0x80) {
            if (at + 2 > length)
                return 0;
            at += payload[at] & 0x80 ? 2 : 1;
        }
        at += (flags & 0x40 ? 1 : 0) + (flags & 0x30 ? 1 : 0);
    }
    return at < length && !(payload[at] & 1);
}

enum passage {
    PYTHONS, /* nothing was changed */
    GOES,    /* as it comes */
    WAITS,   /* for the end of its frame */
    ENDS     /* its frame, which goes on with it */
};

/* What becomes of a packet of a picture; but for the first case the gate has taken it, and `place` is its frame's. `waits`: somebody is to be
   shown the stream from its next key frame on, and that is Python's to begin. */
static enum passage admit(struct gate *gate, const struct head *head, const uint8_t *payload, int length, int waits, double now_s,
                          int32_t *place)
{
    int marker = head->marker_type & 0x80, key = begins_key(payload, length);
    if (marker && !is_sealed(payload, length))
        return PYTHONS;
    int64_t newest = (gate->begun - 1) & (FRAMES - 1);
    int begins = gate->begun <= 0 || gate->timestamps[newest] != head->timestamp;
    int fate;
    if (begins) {
        uint32_t ahead = head->timestamp - (uint32_t)gate->newest;
        *place = (int32_t)(gate->begun & (FRAMES - 1));
        if (gate->newest < 0 || ahead == 0 || ahead >= 0x80000000U || gate->hold->frames[*place] != NULL)
            return PYTHONS;
        fate = gate->trusted_until_s >= 0 && now_s <= gate->trusted_until_s ? TRUSTED : HELD;
    } else {
        *place = (int32_t)newest;
        fate = gate->fates[newest];
        if (fate != TRUSTED && fate != HELD)
            return PYTHONS;
    }
    if (!marker && (fate == HELD || key) && gate->hold->count >= HELD_MOST)
        return PYTHONS;
    if (marker && (fate == HELD || key) && waits)
        return PYTHONS;

    if (begins) {
        gate->newest = head->timestamp;
        if (fate == TRUSTED)
            gate->trusted_until_s = -1;
        gate->timestamps[*place] = head->timestamp;
        gate->begun++;
    }
    if (marker) {
        gate->fates[*place] = SEALED;
        gate->misses = 0;
        gate->trusted_until_s = now_s + TRUST_S;
        return fate == HELD ? ENDS : GOES;
    }
    gate->fates[*place] = (uint8_t)(key ? HELD : fate);
    return gate->fates[*place] == HELD ? WAITS : GOES;
}

/* ---- a packet */

static void note_arrival(struct arrivals *arrivals, int number, double now_s)
{
    int64_t at = arrivals->newest;
    if (at < 0)
        at = arrivals->newest = (int64_t)number + 0x10000;
    else
        at += (int16_t)(uint16_t)(number - at);
    if (at > arrivals->newest)
        arrivals->newest = at;
    if (arrivals->count < PENDING) {
        arrivals->numbers[arrivals->count] = at;
        arrivals->times[arrivals->count++] = now_s;
    }
}

/* Jitter (RFC 3550, A.8), by the first packet of each frame. */
static void measure(struct stream *stream, uint32_t timestamp, double now_s)
{
    if (stream->timestamp == timestamp)
        return;
    double transit = now_s * stream->hz - timestamp;
    if (stream->timestamp >= 0) {
        double difference = fabs(transit - stream->transit);
        if (difference < 5.0 * stream->hz)
            stream->jitter += (difference - stream->jitter) / 16;
    }
    stream->timestamp = timestamp;
    stream->transit = transit;
}

/* A packet that may go on: keep it, and hand it to all whom its stream flows to. */
static enum verdict hand_on(struct intake *intake, const struct stream *stream, const struct packet *packet, const char *body,
                            int32_t body_bytes, double now_s)
{
    struct found *found = &intake->found;
    found->lefts = fan_out(intake->fan, stream->lines, stream->count, packet, body, body_bytes, now_s, found->left);
    if (found->lefts == 0)
        return DONE;
    found->flow = stream->flow;
    found->at = packet->at;
    found->now_s = now_s;
    return LEFT;
}

enum verdict intake_more(struct intake *intake)
{
    while (intake->releasing != NULL) {
        struct kept *kept = intake->releasing;
        intake->releasing = kept->next;
        shelf_adopt(intake->of->shelf, kept);
        if (hand_on(intake, intake->of, &kept->packet, kept->body, kept->body_bytes, intake->released_s) == LEFT)
            return LEFT;
    }
    return DONE;
}

/* What was not asked for any more: an error of Python's came between. */
static void forget(struct intake *intake)
{
    kept_free(intake->releasing);
    intake->releasing = NULL;
}

/* Deal with an opened packet that `expects` took; OPENED: nothing was done. */
static enum verdict take(struct intake *intake, struct uplink *uplink, struct stream *stream, const struct head *head,
                         uint8_t *packet, int length, double now_s)
{
    int end = length;
    if (head->first & 0x20) {
        int padding = packet[length - 1];
        if (padding == 0 || head->start + padding > length)
            return OPENED;
        end = length - padding;
    }
    uint8_t *payload = packet + head->start;
    int payload_bytes = end - head->start;
    if (payload_bytes <= 0 || payload_bytes > BODY_BYTES - TURN_BYTES)
        return OPENED;
    enum passage passage = GOES;
    int32_t place = 0;
    if (stream->gate != NULL) {
        passage = admit(stream->gate, head, payload, payload_bytes, stream->waits > 0, now_s, &place);
        if (passage == PYTHONS)
            return OPENED;
    } else if (stream->waits > 0 || !is_sealed(payload, payload_bytes)) {
        return OPENED;
    } else {
        stream->sound_misses = 0;
    }

    if (now_s - uplink->began_s >= 1.0) {
        uplink->began_s = now_s;
        uplink->left = PACKETS_A_SECOND;
    }
    uplink->left--;
    uplink->packets++;
    if (head->transport_seq >= 0)
        note_arrival(uplink->arrivals, head->transport_seq, now_s);
    stream->newest++;
    stream->came++;
    stream->octets += payload_bytes;
    stream->heard_s = now_s;
    measure(stream, head->timestamp, now_s);

    struct packet told = {stream->newest, head->timestamp, 0x90, head->marker_type};
    /* What stands there belongs to the head, which was read. */
    uint8_t *body = payload - TURN_BYTES;
    memset(body, 0, TURN_BYTES);
    if (head->orientation >= 0) {
        body[0] = ORIENTATION << 4;
        body[1] = (uint8_t)head->orientation;
    }
    int32_t body_bytes = TURN_BYTES + payload_bytes;
    /* Nobody sees it, so nobody can have lost it. */
    int unseen = stream->count == 0 && stream->waits == 0;
    if (passage == GOES) {
        if (unseen)
            return DONE;
        shelf_put(stream->shelf, &told, (const char *)body, body_bytes);
        return hand_on(intake, stream, &told, (const char *)body, body_bytes, now_s);
    }
    struct kept *kept = kept_new(&told, (const char *)body, body_bytes);
    if (kept != NULL)
        hold_put(stream->gate->hold, place, kept);
    if (passage == WAITS)
        return DONE;
    forget(intake);
    intake->releasing = hold_take(stream->gate->hold, place);
    intake->of = stream;
    intake->released_s = now_s;
    if (unseen)
        forget(intake);
    return intake_more(intake);
}

enum verdict intake_take(struct intake *intake, struct uplink *uplink, const char *packet, int32_t packet_bytes, double now_s)
{
    struct head head;
    uint8_t *bytes = intake->datagrams[0]; /* The first of a row: it was dealt with. */
    if (packet_bytes <= 0 || packet_bytes > PACKET_BYTES || !read_head((const uint8_t *)packet, packet_bytes, &head))
        return OPENED;
    struct stream *stream = expects(uplink, &head, now_s);
    if (stream == NULL)
        return OPENED;
    memcpy(bytes, packet, (size_t)packet_bytes);
    return take(intake, uplink, stream, &head, bytes, packet_bytes, now_s);
}

/* ---- datagrams */

struct intake *intake_new(void *unprotect, struct fan *fan)
{
    struct intake *intake = calloc(1, sizeof *intake);
    if (intake == NULL)
        return NULL;
    intake->unprotect = (unprotect_rtp *)unprotect;
    intake->fan = fan;
    intake->tally = fan_tally(fan);
    for (int i = 0; i < ROW; i++) {
        intake->parts[i].iov_base = intake->datagrams[i];
        intake->parts[i].iov_len = ROOM;
        intake->messages[i].msg_hdr.msg_iov = &intake->parts[i];
        intake->messages[i].msg_hdr.msg_iovlen = 1;
        intake->messages[i].msg_hdr.msg_name = intake->addresses[i];
    }
    return intake;
}

void intake_free(struct intake *intake)
{
    forget(intake);
    free(intake);
}

struct found *intake_found(struct intake *intake)
{
    return &intake->found;
}

int32_t intake_read(struct intake *intake, struct face *face)
{
    forget(intake);
    for (int i = 0; i < ROW; i++)
        intake->messages[i].msg_hdr.msg_namelen = ADDRESS_BYTES;
    memset(intake->addresses, 0, sizeof intake->addresses);
    int count = recvmmsg(face->descriptor, intake->messages, ROW, MSG_DONTWAIT, NULL);
    /* What else an error says is of a datagram of ours on its way, and nothing of the next. */
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    intake->now_s = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    intake->face = face;
    intake->count = count < 0 ? 0 : count;
    intake->at = 0;
    return intake->count;
}

/* Deal with a datagram of the row; one that was opened has its new length there. */
static enum verdict deal(struct intake *intake, int at)
{
    uint8_t *datagram = intake->datagrams[at];
    int length = (int)intake->messages[at].msg_len;
    if (length < HEADER_BYTES || datagram[0] < 128 || datagram[0] > 191)
        return RAW;
    struct door *door = intake->face->places == NULL ? NULL : find(intake->face, intake->addresses[at])->door;
    if (door == NULL) {
        intake->tally->strange++;
        return DONE;
    }
    struct head head;
    if (length > PACKET_BYTES || (datagram[1] >= 192 && datagram[1] <= 223) || !door->live || door->srtp == NULL
        || !read_head(datagram, length, &head))
        return RAW;
    double now_s = intake->now_s;
    struct stream *stream = expects(door->uplink, &head, now_s);
    int64_t second = (int64_t)now_s;
    int32_t taken = second == door->second ? door->taken : 0;
    if (stream == NULL || taken >= PACKETS_A_SECOND)
        return RAW;
    door->second = second;
    door->taken = taken + 1;
    if (intake->unprotect(door->srtp, datagram, &length) != 0) {
        intake->tally->refused++;
        return DONE;
    }
    intake->messages[at].msg_len = (unsigned)length;
    enum verdict verdict = take(intake, door->uplink, stream, &head, datagram, length, now_s);
    if (verdict != OPENED) {
        intake->tally->came++;
        door->heard_s = door->media_s = now_s;
    }
    return verdict;
}

enum verdict intake_next(struct intake *intake)
{
    struct found *found = &intake->found;
    if (intake_more(intake) == LEFT)
        return LEFT;
    while (intake->at < intake->count) {
        int at = intake->at++;
        enum verdict verdict = deal(intake, at);
        if (verdict == DONE)
            continue;
        if (verdict != LEFT) {
            found->bytes = (int32_t)intake->messages[at].msg_len;
            found->datagram = (const char *)intake->datagrams[at];
            memcpy(found->address, intake->addresses[at], ADDRESS_BYTES);
            found->now_s = intake->now_s;
        }
        return verdict;
    }
    return DONE;
}
