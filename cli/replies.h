/* replies.h - the half of `bounce classify` that reads replies, not mails. */
#ifndef CLI_REPLIES_H
#define CLI_REPLIES_H

#include "commands.h"

/* The operands' files ('-': standard input; none: that), one SMTP reply a line. The exit status. */
int replies_classify(const struct cli_options *options);

#endif
