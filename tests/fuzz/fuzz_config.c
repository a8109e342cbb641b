#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "config/config.h"
#include "config/dynconfig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte chooses what the rest is read as. What loads as dfdaemon.yaml must print as something that loads again. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_options options = {.allow_ephemeral_ports = true};
	struct config_notes notes = CONFIG_NOTES_INIT;
	struct client_config client;
	struct dynconfig d;
	struct config c;
	const char *text;

	if (size == 0)
		return 0;
	text = (const char *)data + 1;
	size--;
	if (data[0] % 4 == 0) {
		if (dynconfig_load_text(text, size, "d", data[0] & 4, &d, &notes, NULL) == 0)
			dynconfig_free(&d);
	} else if (data[0] % 4 == 1) {
		if (client_config_load_json(slice_make(text, size), "j", &client, &notes, NULL) == 0)
			client_config_free(&client);
	} else if (config_load_text_with(text, size, "f", &options, &c, &notes, NULL) == 0) {
		struct buf printed = BUF_INIT;

		config_print(&c, &printed);
		config_free(&c);
		if (printed.len <= CONFIG_FILE_MAX && config_load_text_with((const char *)buf_data(&printed), printed.len, "p", &options, &c, &notes, NULL) < 0)
			abort();
		config_free(&c);
		buf_free(&printed);
	}
	config_notes_free(&notes);
	return 0;
}
