/* The media of the video load, as media.c sends and reads them. cffi reads this file as it stands: no directives. */

enum {
    PENDING = 4000, /* of arrivals that wait to be reported */
    LEFT = 64,      /* datagrams that one call leaves to Python, at most */
    PARTS = 64      /* packets of one frame, at most */
};

/* A connection. `newest` to `times` are what `Arrivals` (leeside_protocol) has as its state. */
struct line {
    int64_t newest;
    int32_t count;
    int64_t *numbers;
    double *times;

    int32_t descriptor;
    int32_t transport_seq; /* of what was sent last */
    int32_t seq_at;        /* where the transport's number stood in the packet that came before; 0: not known */
    void *protect;         /* sessions of libsrtp */
    void *receive;
};

/* What is sent at one moment: packets whose header, extensions and picture number are empty, one behind another. `stamp_at`: where
   the time of sending goes; below 0: nowhere. */
struct frame {
    const char *packets;
    int32_t parts;
    int32_t bytes[64];
    int32_t stamp_at;
};

struct told {
    uint8_t mid;
    uint8_t type; /* of the payload; a picture's last packet has the marker as well */
    uint8_t is_picture;
    uint16_t sequence; /* of the first packet */
    uint16_t picture;
    uint32_t timestamp;
    uint32_t ssrc;
};

struct seen {
    int64_t sent;
    int64_t forwarded;
    int64_t repairs;
    int64_t pictures; /* ends of pictures */
    int64_t refused;  /* of the sample: not genuine */
    int32_t delays;   /* how many there are */
};

/* No media: a datagram that is Python's. */
struct left {
    int32_t line;
    int32_t bytes;
    const char *datagram;
};

struct media;

/* `protect`, `unprotect`: of libsrtp. `delays_s` has room for `delays`. NULL: it could not be made. */
struct media *media_new(struct line *const *lines, int32_t count, void *protect, void *unprotect, double *delays_s,
                        int32_t delays);
void media_free(struct media *media);
struct seen *media_seen(struct media *media);
struct left *media_left(struct media *media);

/* Send a frame; how many of its packets left. */
int32_t media_send(struct media *media, struct line *line, const struct frame *frame, const struct told *told);

/* Wait for datagrams until this time of the monotonic clock, and read one row of each line that has any; how many are left to
   Python, which must be dealt with before the next call. */
int32_t media_wait(struct media *media, double until_s);
