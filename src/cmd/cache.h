/*
 * The commands of dfcache; argv[0] is the command's name.
 */
#ifndef CMD_CACHE_H
#define CMD_CACHE_H

int cache_import(int argc, char **argv);
int cache_export(int argc, char **argv);
int cache_stat(int argc, char **argv);

#endif
