/* net.h - small things about sockets that the programs in bench/ share. */
#ifndef BENCH_NET_H
#define BENCH_NET_H

#include "hikyaku/base.h"

/* "127.0.0.1:2525" or "[::1]:2525" into its two parts; HK_EINVAL when it is neither. *port points into text. */
int net_split(const char *text, char *host, size_t size, const char **port) HK_MUST_USE;
/* As many descriptors as we may have (each connection is one): how many that is. */
uint64_t net_raise_descriptors(void);

#endif
