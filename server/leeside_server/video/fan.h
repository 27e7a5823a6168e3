/* What Python and C share of the fast way (fan.c). cffi reads this file as it stands: no directives, and the layout of a struct
   is written down here alone. Fields are those of `LinkState` and `LineState` (fan.py), and are explained there; what Python has
   no name for is the way out. */

enum {
    RING = 4096,       /* entries of a link's rings */
    HEAD_BYTES = 21,   /* before the body: fixed header, extension head, media line, transport number */
    TURN_BYTES = 3,    /* the body begins with what turns the picture, then comes the payload */
    BODY_BYTES = 1600, /* the longest body */
    PREFIX_BYTES = 7,
    ADDRESS_BYTES = 28
};

struct link {
    int32_t seq;
    int64_t sent_bytes;
    double owed_since_s;
    double room;
    double filled_s;
    double bytes_per_s;
    double most;
    int64_t held_bytes;

    int32_t *numbers; /* rings of what was sent: number, when, bytes */
    double *times;
    int32_t *sizes;
    void *srtp; /* a context of libsrtp; NULL: nothing can be sent now */
    int32_t descriptor;
    uint32_t address_bytes;
    uint8_t address[28]; /* a sockaddr */
};

struct line {
    int64_t since;
    int64_t shift;
    uint32_t timestamp_shift;
    int32_t pictures;
    int32_t levels;
    int64_t newest;
    int64_t sent;
    uint32_t timestamp;
    double sent_s;
    int64_t packets;
    int64_t octets;

    struct link *link;
    uint32_t ssrc;
    uint8_t prefix[7];
    uint8_t paced; /* it waits for room; sound does not */
};

struct packet {
    int64_t at;
    uint32_t timestamp;
    uint8_t first;
    uint8_t marker_type;
};

struct tally {
    int64_t sent;
    int64_t unsent; /* the system took no more */
};

struct fan;

/* `protect` is srtp_protect of libsrtp. NULL: there is no memory. */
struct fan *fan_new(void *protect);
void fan_free(struct fan *fan);

/* A packet of a layer to `count` lines, as `Slot.forward` sends it to one. `left` (room for `count`) takes the places of the lines
   that were not dealt with, and are as they were; their number is returned. What is sent leaves with `fan_flush`, or before. */
int32_t fan_out(struct fan *fan, struct line *const *lines, int32_t count, const struct packet *packet, const char *body,
                int32_t body_bytes, double now_s, int32_t *left);

/* Protect a whole packet, and let it leave with the others. `seq`: its transport number, of which a report is expected; below 0:
   none is. */
void fan_send(struct fan *fan, struct link *link, const char *packet, int32_t packet_bytes, int32_t seq);

void fan_flush(struct fan *fan);
struct tally *fan_tally(struct fan *fan);

/* Of which sources this was built. */
const char *fan_sources(void);
