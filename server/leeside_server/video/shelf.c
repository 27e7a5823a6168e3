/* The packets of a stream that are kept for who asks again, as `Layer` has them in Python when it is alone: the newest, each in
   the place that its number gives it. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ways.h"

struct shelf {
    int64_t mask;
    struct kept *places[];
};

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
    struct kept *kept = *place = malloc(sizeof *kept + (size_t)body_bytes);
    if (kept == NULL)
        return NULL;
    kept->packet = *packet;
    kept->body_bytes = body_bytes;
    memcpy(kept->body, body, (size_t)body_bytes);
    return kept;
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
