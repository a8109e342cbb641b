/*
 * The commands of dfctl; argv[0] is the command's name.
 */
#ifndef CMD_CTL_H
#define CMD_CTL_H

int ctl_task_ls(int argc, char **argv);
int ctl_task_rm(int argc, char **argv);
int ctl_task_preheat(int argc, char **argv);
int ctl_persistent_task_ls(int argc, char **argv);
int ctl_persistent_cache_task_ls(int argc, char **argv);
int ctl_store_check(int argc, char **argv);

#endif
