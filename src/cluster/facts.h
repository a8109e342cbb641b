/*
 * What we tell of this host: sampled once a second in the background, so that announcing never waits for a measurement (spec: daemon.md 3.4).
 */
#ifndef CLUSTER_FACTS_H
#define CLUSTER_FACTS_H

#include "cluster/cluster.h"

struct arena;
struct common_host;
struct config;
struct facts;
struct loop;

#define FACTS_SAMPLE_MS 1000

struct facts *facts_new(struct loop *loop, const struct config *config);
void facts_free(struct facts *f);
/* The whole Host message (spec: daemon.md 3.3); -1 when the arena is full. */
int facts_fill(const struct facts *f, const struct cluster_host *self, struct arena *a, struct common_host *out);
void facts_traffic(const struct facts *f, struct cluster_traffic *out);

#endif
