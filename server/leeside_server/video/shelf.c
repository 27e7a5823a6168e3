/* Packets of a stream that are kept: for who asks again, the newest, each in the place that its number gives it (as `Layer` has them in
   Python when it is alone); and until their frame ends, by frame (as `SealGate` has them). */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ways.h"

struct shelf {
    int64_t mask;
    struct kept *places[];
};

struct kept *kept_new(const struct packet *packet, const char *body, int32_t body_bytes)
{
    struct kept *kept = malloc(sizeof *kept + (size_t)body_bytes);
    if (kept == NULL)
        return NULL;
    kept->next = NULL;
    kept->packet = *packet;
    kept->body_bytes = body_bytes;
    memcpy(kept->body, body, (size_t)body_bytes);
    return kept;
}

void kept_free(struct kept *kept)
{
    while (kept != NULL) {
        struct kept *next = kept->next;
        free(kept);
        kept = next;
    }
}

/* ---- for who asks again */

struct shelf *shelf_new(int32_t places)
{
    struct shelf *shelf = calloc(1, sizeof *shelf + (size_t)places * sizeof shelf->places[0]);
    if (shelf != NULL)
        shelf->mask = places - 1;
    return shelf;
}

void shelf_clear(struct shelf *shelf)
{
    for (int64_t i = 0; i <= shelf->mask; i++) {
        free(shelf->places[i]);
        shelf->places[i] = NULL;
    }
}

void shelf_free(struct shelf *shelf)
{
    shelf_clear(shelf);
    free(shelf);
}

struct kept *shelf_put(struct shelf *shelf, const struct packet *packet, const char *body, int32_t body_bytes)
{
    struct kept **place = &shelf->places[packet->at & shelf->mask];
    free(*place);
    return *place = kept_new(packet, body, body_bytes);
}

void shelf_adopt(struct shelf *shelf, struct kept *kept)
{
    struct kept **place = &shelf->places[kept->packet.at & shelf->mask];
    free(*place);
    kept->next = NULL;
    *place = kept;
}

struct kept *shelf_at(struct shelf *shelf, int64_t at)
{
    struct kept *kept = shelf->places[at & shelf->mask];
    return kept != NULL && kept->packet.at == at ? kept : NULL;
}

void shelf_empty(struct shelf *shelf, uint32_t timestamp, uint8_t first, const char *body, int32_t body_bytes)
{
    for (int64_t i = 0; i <= shelf->mask; i++) {
        struct kept *kept = shelf->places[i];
        if (kept == NULL || kept->packet.timestamp != timestamp || kept->body_bytes < body_bytes)
            continue;
        kept->packet.first = first;
        kept->body_bytes = body_bytes;
        memcpy(kept->body, body, (size_t)body_bytes);
    }
}

/* ---- until their frame ends */

struct hold *hold_new(void)
{
    return calloc(1, sizeof(struct hold));
}

void hold_free(struct hold *hold)
{
    for (int place = 0; place < FRAMES; place++)
        kept_free(hold->frames[place]);
    free(hold);
}

void hold_put(struct hold *hold, int32_t place, struct kept *kept)
{
    struct kept **after = &hold->frames[place];
    /* What was lost and came again belongs before what came meanwhile. */
    while (*after != NULL && (*after)->packet.at <= kept->packet.at)
        after = &(*after)->next;
    kept->next = *after;
    *after = kept;
    hold->count++;
}

struct kept *hold_take(struct hold *hold, int32_t place)
{
    struct kept *first = hold->frames[place];
    hold->frames[place] = NULL;
    for (const struct kept *kept = first; kept != NULL; kept = kept->next)
        hold->count--;
    return first;
}
