/* What Python and C share of the fast way (fan.c, intake.c). cffi reads this file as it stands: no directives, and the layout of a
   struct is written down here alone. Fields that have a name in Python are those of the states in ways.py (`arrivals`: of
   `ArrivalsState` in leeside_protocol), and are explained there; what follows them is C's own. */

enum {
    RING = 4096,       /* entries of a link's rings */
    HEAD_BYTES = 21,   /* before the body: fixed header, extension head, media line, transport number */
    TURN_BYTES = 3,    /* the body begins with what turns the picture, then comes the payload */
    BODY_BYTES = 1600, /* the longest body */
    PREFIX_BYTES = 7,
    ADDRESS_BYTES = 28,
    FRAMES = 64,      /* entries of a gate */
    HELD_MOST = 512,  /* packets that wait in one */
    PENDING = 4000,   /* of arrivals */
    STREAMS = 8,      /* of one publisher */
    PACKETS_A_SECOND = 3000, /* from one publisher */
    MOST_LINES = 16   /* that one stream flows to, in C */
};

/* ---- the way out */

struct link {
    int32_t seq;
    int64_t sent_bytes;
    double owed_since_s;
    double room;
    double filled_s;
    double bytes_per_s;
    double most;
    int64_t held_bytes;
    int32_t reported;
    int64_t clock_us;

    int32_t *numbers; /* rings of what was sent: number, when, bytes */
    double *times;
    int32_t *sizes;
    void *srtp; /* a context of libsrtp; NULL: nothing can be sent now */
    int32_t descriptor;
    uint32_t address_bytes;
    uint8_t address[28]; /* a sockaddr */
    uint64_t row;        /* in which its last packet was queued; 0: none was since it was aimed */
    int32_t group;       /* of that row: what leaves with it */
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

/* What was counted since Python took it last. */
struct tally {
    int64_t sent;
    int64_t unsent; /* the system took no more */
    int64_t came;
    int64_t refused; /* not genuine, or repeated */
    int64_t strange; /* from nobody we know */
};

struct fan;

/* `protect` is srtp_protect of libsrtp, `protect_control` its srtp_protect_rtcp. NULL: there is no memory. */
struct fan *fan_new(void *protect, void *protect_control);
void fan_free(struct fan *fan);

/* A packet of a layer to `count` lines, as `Slot.forward` sends it to one. `left` (room for `count`) takes the places of the lines
   that were not dealt with, and are as they were; their number is returned. What is sent leaves with `fan_flush`, or before. */
int32_t fan_out(struct fan *fan, struct line *const *lines, int32_t count, const struct packet *packet, const char *body,
                int32_t body_bytes, double now_s, int32_t *left);

/* Protect a whole packet, and let it leave with the others. `seq`: its transport number, of which a report is expected; below 0:
   none is. */
void fan_send(struct fan *fan, struct link *link, const char *packet, int32_t packet_bytes, int32_t seq);

/* The same for a compound of RTCP. */
void fan_send_control(struct fan *fan, struct link *link, const char *packet, int32_t packet_bytes);

void fan_flush(struct fan *fan);
struct tally *fan_tally(struct fan *fan);

/* ---- what came of it */

struct heard {
    int32_t count;
    int64_t bytes;
    double newest_s;
    double newest_sent_s;
    double least_s;
};

/* What a receiver's report says, which stands in `data` from `start` to `end`, in the way of `Ways.heard`. 0: nothing was done. */
int32_t link_heard(struct link *link, const char *data, int32_t start, int32_t end, double oldest_s, struct heard *heard);

/* ---- what is kept of a stream */

struct kept {
    struct kept *next; /* of those that wait */
    struct packet packet;
    int32_t body_bytes;
    char body[];
};

/* A copy of a packet; NULL: there is no memory. */
struct kept *kept_new(const struct packet *packet, const char *body, int32_t body_bytes);
/* It, and all behind it. */
void kept_free(struct kept *kept);

struct shelf;

/* For the newest `places` packets (a power of two). NULL: there is no memory. */
struct shelf *shelf_new(int32_t places);
void shelf_free(struct shelf *shelf);

/* Keep a copy; what had its place goes. NULL: there is no memory, and the place is empty. */
struct kept *shelf_put(struct shelf *shelf, const struct packet *packet, const char *body, int32_t body_bytes);

/* The same for one that was copied already: it is the shelf's from now on. */
void shelf_adopt(struct shelf *shelf, struct kept *kept);

/* The packet with this number, while it is kept; NULL: it is not. */
struct kept *shelf_at(struct shelf *shelf, int64_t at);

/* What is kept of this frame carries nothing any more: its body is this one. */
void shelf_empty(struct shelf *shelf, uint32_t timestamp, uint8_t first, const char *body, int32_t body_bytes);
void shelf_clear(struct shelf *shelf);

/* ---- what waits for the end of its frame, as `SealGate` holds it */

struct hold {
    int32_t count; /* of all frames */
    struct kept *frames[64];
};

struct hold *hold_new(void);
void hold_free(struct hold *hold);

/* Let it wait with the packets of the frame in this place: it is the hold's from now on. */
void hold_put(struct hold *hold, int32_t place, struct kept *kept);

/* All of this frame, in order of sequence, and the caller's from now on; NULL: none waits. */
struct kept *hold_take(struct hold *hold, int32_t place);

/* ---- the way in */

struct arrivals {
    int64_t newest;
    int32_t count;

    int64_t *numbers;
    double *times;
};

struct gate {
    int32_t misses;
    double trusted_until_s;
    int64_t newest;
    int64_t begun;

    uint32_t *timestamps;
    uint8_t *fates;
    struct hold *hold;
};

struct stream {
    int64_t newest;
    int64_t came;
    int64_t octets;
    double heard_s;
    double jitter;
    double transit;
    int64_t timestamp;
    int32_t sound_misses;
    int32_t waits;

    struct gate *gate; /* NULL: it is sound */
    struct shelf *shelf;
    int32_t hz;
    uint8_t types[2];
    int32_t count; /* of lines it flows to */
    struct line **lines;
    void *flow; /* Python's, of these lines */
};

struct uplink {
    double began_s;
    int32_t left;
    int64_t packets;

    struct arrivals *arrivals;
    int32_t count;
    uint32_t ssrcs[8];
    struct stream *streams[8];
};

struct door {
    int64_t second;
    int32_t taken;
    double heard_s;
    double media_s;
    uint8_t live;

    void *srtp; /* a context of libsrtp; NULL: nothing can be opened */
    struct uplink *uplink;
};

enum verdict {
    DONE,   /* nothing is left to do */
    RAW,    /* a datagram is Python's to deal with, and nothing was done with it */
    OPENED, /* the same, but that it was opened: it is genuine */
    LEFT    /* a packet was dealt with, but for some of the lines it flows to */
};

struct face; /* a socket of ours, and who is known on it */
struct intake;

struct face *face_new(int32_t descriptor);
void face_free(struct face *face);

/* Know these, and nobody else: `count` addresses of ADDRESS_BYTES each (the end of one is zeros). Below 0: there is no memory, and
   nobody is known. */
int32_t face_know(struct face *face, int32_t count, const char *addresses, struct door *const *doors);

/* `unprotect` is srtp_unprotect of libsrtp. NULL: there is no memory. */
struct intake *intake_new(void *unprotect, struct fan *fan);
void intake_free(struct intake *intake);

/* Read a row of datagrams, and return how many they are; then `intake_next` deals with them, until it says DONE. */
int32_t intake_read(struct intake *intake, struct face *face);
enum verdict intake_next(struct intake *intake);

/* What is still to go on of the frame whose last packet was dealt with: LEFT, or DONE: nothing is. After each LEFT of `intake_take`;
   `intake_next` does it by itself. */
enum verdict intake_more(struct intake *intake);

/* A packet of this publisher that was opened already: DONE, LEFT, or OPENED: nothing was done with it. */
enum verdict intake_take(struct intake *intake, struct uplink *uplink, const char *packet, int32_t packet_bytes, double now_s);

/* Of the verdict before, until the next call. RAW and OPENED: the datagram, and where it came from. LEFT: the packet's number, and to
   which places of which lines it is to go. */
struct found {
    double now_s;
    const char *datagram;
    int32_t bytes;
    uint8_t address[28];

    void *flow;
    int64_t at;
    int32_t lefts;
    int32_t left[16];
};

struct found *intake_found(struct intake *intake);

/* Of which sources this was built. */
const char *ways_sources(void);
