/* A fake miner: it keeps the GPUs and a port open, and connects to a pool; it mines nothing.
 *
 * Options (or the environment, where a flavour hides them): --pool ADDRESS:PORT (MINER_POOL), --api
 * PORT (MINER_API), a port of the rig's own address; -lk PORT listens only, as remote control does. All
 * other words are as if it understood them. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NODES 16

/* O_PATH: a container's node has no driver to answer, but the file is open, as /proc/PID/fd shows. */
static void hold_gpus(void)
{
    char path[32];
    open("/dev/nvidiactl", O_PATH);
    open("/dev/nvidia-uvm", O_PATH);
    for (int card = 0; card < NODES; card++) {
        snprintf(path, sizeof path, "/dev/nvidia%d", card);
        open(path, O_PATH);
    }
}

/* The rig's own address is where its sshd listens: all rigs share one network. */
static void own_address(char address[64])
{
    FILE *file = fopen("/etc/ssh/sshd_config.d/address.conf", "re");
    if (!file || fscanf(file, "ListenAddress %63s", address) != 1)
        strcpy(address, "127.0.0.1");
    if (file)
        fclose(file);
}

static int fill(struct sockaddr_in *to, const char *address, const char *port)
{
    memset(to, 0, sizeof *to);
    to->sin_family = AF_INET;
    to->sin_port = htons(atoi(port));
    return inet_pton(AF_INET, address, &to->sin_addr) == 1;
}

static void serve(const char *port)
{
    char address[64];
    struct sockaddr_in own;
    int yes = 1, server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    own_address(address);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (!fill(&own, address, port) || bind(server, (struct sockaddr *)&own, sizeof own) || listen(server, 4))
        perror(port);
}

/* Holds one connection to the pool, and tries again every second while there is none. */
static void work(char *pool)
{
    char *port = strchr(pool, ':'), rest[256];
    struct sockaddr_in there;
    *port++ = 0;
    for (;;) {
        int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fill(&there, pool, port) && !connect(connection, (struct sockaddr *)&there, sizeof there))
            while (read(connection, rest, sizeof rest) > 0)
                ;
        close(connection);
        sleep(1);
    }
}

int main(int count, char **words)
{
    char *pool = getenv("MINER_POOL"), *api = getenv("MINER_API"), *console = NULL;
    for (int word = 1; word + 1 < count; word++) {
        if (!strcmp(words[word], "--pool"))
            pool = words[word + 1];
        if (!strcmp(words[word], "--api"))
            api = words[word + 1];
        if (!strcmp(words[word], "-lk"))
            console = words[word + 1];
    }
    if (console)
        serve(console);
    else
        hold_gpus();
    if (api)
        serve(api);
    if (pool && strchr(pool, ':'))
        work(strdup(strstr(pool, "://") ? strstr(pool, "://") + 3 : pool));
    for (;;)
        pause();
}
