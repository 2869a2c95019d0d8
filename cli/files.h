/* files.h - the files that a configuration names: keys, certificates, passwords, trust anchors.
 *
 * Workers and resolver load them, each for itself; a file that is missing or wrong is found here first, by the command,
 * in one line with the key that names it.
 */
#ifndef CLI_FILES_H
#define CLI_FILES_H

#include "hikyaku/config.h"

/* 0, or HK_E* with the words. `tell`: say what is doubtful about the keys (no dkim section, a key others can read). */
int files_check(const struct config *config, bool tell, struct hk_why *why) HK_MUST_USE;

#endif
