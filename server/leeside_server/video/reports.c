/* The fast way of what a receiver says came (ways.py tells why there are two): of every packet that was sent to anybody it is read, when
   it came, and compared with when it left.

   It does what `read_twcc`, `Bandwidth._known` and `Bandwidth._unwrapped` do for nearly every report: it goes on where the one before
   ended, all that it speaks of came, and nothing was told of these packets before. Whatever is otherwise is left to Python with nothing
   changed. Nothing is believed of it but lengths that it has, and numbers that stand in our own rings. One thread. */

#include <stdint.h>

#include "ways.h"

enum {
    FIXED_BYTES = 16, /* two SSRCs, the first number, how many, a time of 24 bits */
    CAME_SOON = 1,    /* a status: it came, and its time is one byte of 250 us */
    TICK_US = 250,
    REFERENCE_US = 64000
};
static const int64_t WRAP_US = (1LL << 24) * REFERENCE_US;

static uint32_t read16(const uint8_t *from)
{
    return (uint32_t)from[0] << 8 | from[1];
}

/* Where the times begin, if all packets have the status that a byte of time follows (draft-holmer-rmcat-transport-wide-cc-extensions-01,
   3.1.2 to 3.1.4); 0: they have not, or it is cut. */
static int32_t all_came(const uint8_t *report, int32_t bytes, int32_t count)
{
    int32_t at = FIXED_BYTES;
    while (count > 0) {
        if (at + 2 > bytes)
            return 0;
        uint32_t chunk = read16(report + at);
        at += 2;
        if (chunk < 0x8000) {
            if (chunk >> 13 != CAME_SOON)
                return 0;
            count -= (int32_t)(chunk & 0x1FFF);
            continue;
        }
        int wide = chunk >= 0xC000, bits = wide ? 2 : 1;
        for (int place = wide ? 12 : 13; place >= 0 && count > 0; place -= bits, count--)
            if ((chunk >> place & (wide ? 3U : 1U)) != CAME_SOON)
                return 0;
    }
    return at;
}

int32_t link_heard(struct link *link, const char *data, int32_t start, int32_t end, double oldest_s, struct heard *heard)
{
    const uint8_t *report = (const uint8_t *)data + start;
    int32_t bytes = end - start;
    if (bytes < FIXED_BYTES)
        return 0;
    int32_t first = (int32_t)read16(report + 8), count = (int32_t)read16(report + 10);
    if (count == 0 || count > RING || first != link->reported)
        return 0;
    int32_t at = all_came(report, bytes, count);
    if (at == 0 || at + count > bytes)
        return 0;
    for (int32_t i = 0; i < count; i++) {
        int32_t seq = (first + i) & 0xFFFF, entry = seq & (RING - 1);
        if (link->numbers[entry] != seq || link->sizes[entry] <= 0 || link->times[entry] < oldest_s)
            return 0;
    }

    int64_t time_us = (int64_t)(read16(report + 12) << 8 | report[14]) * REFERENCE_US;
    int64_t first_us = time_us + report[at] * TICK_US;
    int64_t clock_us = link->clock_us == -1 ? first_us : link->clock_us;
    int64_t ahead_us = (first_us - clock_us + WRAP_US / 2) % WRAP_US;
    if (ahead_us < 0)
        ahead_us += WRAP_US;
    int64_t wraps_us = clock_us + ahead_us - WRAP_US / 2 - first_us;
    heard->bytes = 0;
    for (int32_t i = 0; i < count; i++) {
        int32_t entry = (first + i) & (RING - 1);
        time_us += report[at + i] * TICK_US;
        double came_s = (double)(time_us + wraps_us) / 1e6, took_s = came_s - link->times[entry];
        if (i == 0 || took_s < heard->least_s)
            heard->least_s = took_s;
        heard->newest_s = came_s;
        heard->newest_sent_s = link->times[entry];
        heard->bytes += link->sizes[entry];
        link->numbers[entry] = -1;
    }
    heard->count = count;
    link->clock_us = time_us + wraps_us;
    link->reported = (first + count) & 0xFFFF;
    return 1;
}
