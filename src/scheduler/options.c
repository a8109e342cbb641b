/*
 * Options as they are when nothing is said, and the names of labels.
 */
#include <string.h>

#include "scheduler/scheduler.h"

const char *const scheduler_task_type_names[SCHEDULER_TASK_TYPES] = { "STANDARD", "PERSISTENT", "PERSISTENT_CACHE", "CACHE" };
const char *const scheduler_host_type_names[SCHEDULER_HOST_TYPES] = { "normal", "super" };
const char *const scheduler_traffic_type_names[SCHEDULER_TRAFFIC_TYPES] = { "BACK_TO_SOURCE", "REMOTE_PEER", "LOCAL_PEER" };

void
scheduler_options_default(struct scheduler_options *o)
{
	memset(o, 0, sizeof *o);
	o->candidate_parent_limit = SCHEDULER_PARENTS_MAX;
	o->sample_limit = 64;
	o->mesh = true;
	o->host_owners = true;
	o->locality = SCHEDULER_LOCALITY_OFF;
	o->max_wait_ms = 30000;
	o->slot_wait_ms = 1000;
	o->stall_timeout_ms = 10000;
	o->first_piece_timeout_ms = 30000;
	o->grant_timeout_ms = 30000;
	o->source_growth_ms = 5000;
	o->block_ttl_ms = 60000;
	o->back_to_source_count = 200;
	o->upload_slot_bandwidth = 250000000;
	o->load_limit = 200;
	o->seed_load_limit = 2000;
	o->max_holders = 2000;
	o->peer_ttl_ms = (int64_t)24 * 3600 * 1000;
	o->host_ttl_ms = 3600 * 1000;
	o->memory_limit = (uint64_t)2 << 30;
	o->cluster_id = 1;
	o->blob_digest_ids = true;
}
