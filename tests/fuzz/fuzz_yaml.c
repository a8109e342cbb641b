#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "text/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition)
		abort();
}

/* Nodes below node, itself included; every count in the tree must be true and every limit kept. */
static size_t
walk(const struct yaml_node *node, unsigned depth)
{
	size_t count = 0;
	size_t weight = 1;

	require(depth <= YAML_DEPTH_MAX);
	require(node->line >= 1 && node->column >= 1);
	require(node->text[node->len] == '\0');
	for (const struct yaml_node *it = node->first; it; it = it->next) {
		require((node->kind == YAML_MAPPING) == (it->key != NULL));
		if (it->key)
			weight += walk(it->key, depth + 1);
		weight += walk(it, depth + 1);
		count++;
	}
	require(node->kind != YAML_SCALAR || count == 0);
	require(count == node->count && weight == node->weight && weight <= YAML_NODES_MAX);
	return weight;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct yaml_node *root;
	struct arena a;

	arena_init(&a, 16 * 1024 * 1024);
	root = yaml_parse((const char *)data, size, &a, NULL);
	if (root)
		walk(root, 0);
	arena_free(&a);
	return 0;
}
