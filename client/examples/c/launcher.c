/*
 * A small launcher in C: installs the app if it is not there, else updates it, and confirms the new release.
 *
 * usage: launcher TREE SITE ROOT APP CHANNEL [cancel]
 *
 * ROOT is a file with the root document; a real launcher has it compiled in. With `cancel` the download is cancelled as
 * soon as it begins, as a user might. Ends with the status of the call that failed, or 0.
 */
#include <stdio.h>
#include <string.h>

#include "lamplighter.h"

static LamplighterHandle tree;
static int cancel_download;

/* Called on the thread that made the call, one event at a time. */
static int32_t on_event(const LamplighterEvent *event, void *user)
{
    (void)user;
    switch (event->kind) {
    case LAMPLIGHTER_STARTED:
        if (cancel_download && strcmp(event->phase, "download") == 0)
            lamplighter_cancel(tree);
        break;
    case LAMPLIGHTER_ADVANCED:
        if (event->percent >= 0)
            printf("  %s: %d %%\n", event->phase, (int)event->percent);
        break;
    case LAMPLIGHTER_NOTICE:
        printf("  %s: %s %s\n", event->code, event->subject, event->text);
        break;
    }
    return 0;
}

/* Prints what went wrong; gives the status. */
static int failed(const char *doing, const LamplighterError *error)
{
    fprintf(stderr, "error %d %s: cannot %s: %s\n", (int)error->status, error->code, doing, error->message);
    return error->status;
}

static int install(const LamplighterOrigin *origin)
{
    LamplighterError error = {.size = sizeof error};
    LamplighterReport report = {.size = sizeof report};
    if (lamplighter_install(tree, origin, on_event, NULL, &report, NULL, &error) != LAMPLIGHTER_OK)
        return failed("install", &error);
    if (report.state == LAMPLIGHTER_NOTHING)
        printf("nothing to install: %s\n", report.reason);
    else
        printf("installed %s (build %d)\n", report.version, (int)report.build);
    return 0;
}

static int update(void)
{
    LamplighterError error = {.size = sizeof error};
    LamplighterOffer offer = {.size = sizeof offer};
    if (lamplighter_check(tree, on_event, NULL, &offer, NULL, &error) != LAMPLIGHTER_OK)
        return failed("check", &error);
    if (offer.state == LAMPLIGHTER_NOTHING) {
        printf("nothing to do: %s\n", offer.reason);
        return 0;
    }
    printf("available %s (build %d)\n", offer.version, (int)offer.build);

    /* All but the last step; the app may run meanwhile. */
    offer.size = sizeof offer;
    if (lamplighter_stage(tree, NULL, on_event, NULL, &offer, NULL, &error) != LAMPLIGHTER_OK)
        return failed("stage", &error);
    if (offer.state == LAMPLIGHTER_NOTHING) {
        printf("nothing to do: %s\n", offer.reason);
        return 0;
    }
    printf("staged %s (build %d)\n", offer.version, (int)offer.build);

    /* The last step, when the app is closed. Needs no network. */
    LamplighterReport report = {.size = sizeof report};
    if (lamplighter_commit(tree, on_event, NULL, &report, NULL, &error) != LAMPLIGHTER_OK)
        return failed("commit", &error);
    printf("updated to %s (build %d)\n", report.version, (int)report.build);
    return 0;
}

/* Counts the start, starts the app, and confirms the release once it works. */
static int run(void)
{
    LamplighterError error = {.size = sizeof error};
    LamplighterStart start = {.size = sizeof start};
    if (lamplighter_count_start(tree, &start, &error) != LAMPLIGHTER_OK)
        return failed("count the start", &error);
    if (start.action == LAMPLIGHTER_START_GO_BACK) {
        if (lamplighter_rollback(tree, on_event, NULL, NULL, NULL, &error) != LAMPLIGHTER_OK)
            return failed("go back", &error);
        printf("went back\n");
    } else if (start.action == LAMPLIGHTER_START_PROBATION) {
        printf("start %d of %d\n", (int)start.start, (int)start.starts_max);
    }
    /* Here the app is started, and looked at for a while. */
    if (lamplighter_confirm_healthy(tree, &error) != LAMPLIGHTER_OK)
        return failed("confirm", &error);
    printf("confirmed\n");
    return 0;
}

int main(int argc, char **argv)
{
    static uint8_t root[65536];
    if (argc < 6) {
        fprintf(stderr, "usage: launcher TREE SITE ROOT APP CHANNEL [cancel]\n");
        return LAMPLIGHTER_USAGE;
    }
    cancel_download = argc > 6 && strcmp(argv[6], "cancel") == 0;
    if (lamplighter_abi_version() < LAMPLIGHTER_ABI) {
        fprintf(stderr, "the library is older than the header this program was built with\n");
        return LAMPLIGHTER_USAGE;
    }
    printf("lamplighter %s on %s\n", lamplighter_version(), lamplighter_platform());
    FILE *file = fopen(argv[3], "rb");
    if (file == NULL) {
        perror(argv[3]);
        return LAMPLIGHTER_DISK;
    }
    size_t root_length = fread(root, 1, sizeof root, file);
    fclose(file);

    LamplighterError error = {.size = sizeof error};
    LamplighterTree status = {.size = sizeof status};
    /* No state directory of its own; a proxy if the environment names one. */
    if (lamplighter_open(argv[1], NULL, NULL, &tree, &error) != LAMPLIGHTER_OK)
        return failed("open the tree", &error);
    if (lamplighter_status(tree, &status, NULL, &error) != LAMPLIGHTER_OK)
        return failed("read the tree", &error);
    LamplighterOrigin origin = {
        .size = sizeof origin,
        .site = argv[2],
        .app = argv[4],
        .channel = argv[5],
        .root = root,
        .root_length = root_length,
    };
    int code = status.installed ? update() : install(&origin);
    if (code == 0)
        code = run();
    lamplighter_close(tree);
    return code;
}
