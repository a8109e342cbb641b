/*
 * The programs: each takes its command line (argv[0] is its name) and returns its exit code.
 */
#ifndef CMD_CMD_H
#define CMD_CMD_H

int dfdaemon_main(int argc, char **argv);
int dfget_main(int argc, char **argv);
int dfctl_main(int argc, char **argv);
int dfcache_main(int argc, char **argv);
int dfinit_main(int argc, char **argv);

#endif
