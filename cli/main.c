/* main.c - the program: a name for the log, then the command that was typed. */
#include "commands.h"
#include "hikyaku/fault.h"
#include "hikyaku/process.h"

int main(int argc, char **argv)
{
    process_title_init(argc, argv);
    log_setup(LOG_LEVEL_INFO, "hikyaku");
    fault_setup();
    process_bus_tell();
    return commands_main(argc, argv);
}
