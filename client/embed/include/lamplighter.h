/*
 * Lamplighter: fetches, verifies and applies desktop software releases from static files. The C interface.
 *
 * Generated from the library's source; do not edit. docs/embedding.md shows it in use, in five languages.
 *
 * Order of calls. lamplighter_open(), then lamplighter_status(). Nothing installed: lamplighter_install(). Else
 * lamplighter_check(), lamplighter_stage() while the app runs, lamplighter_commit() when it does not,
 * lamplighter_count_start() before the app is started, lamplighter_confirm_healthy() once it works. Last
 * lamplighter_close().
 *
 * Errors. A call returns a status: LAMPLIGHTER_OK or the class of what went wrong, to act on. A LamplighterError in
 * the caller's memory gets the same with a stable code and a sentence for people. The numbers are the exit codes of
 * the `client` program.
 *
 * Texts are UTF-8 and end with NUL, names of files too, on every system. Texts that are passed in are copied.
 *
 * Structs. The caller sets `size` to sizeof the struct before each call; a library that knows more fields fills only
 * those, one that knows fewer says in `size` how many bytes it filled. All memory of structs is the caller's. Only a
 * text given through `json` is to be freed, once, with lamplighter_free_text().
 *
 * Threads. All functions may be called from any thread. A handle does one call at a time: a second one is refused with
 * the code "E_BUSY", and only lamplighter_cancel(), lamplighter_clear_cancel() and lamplighter_close() may come beside
 * it. Calls block until they are done; callbacks are made on the thread that made the call, one at a time, and may
 * not throw or jump out. There is no state of threads: nothing depends on which thread calls.
 *
 * After a crash, of the program or of the machine, at any moment, the tree is the old release or the new one: the next
 * call that changes the tree finishes or undoes what was begun. Downloads go on where they stopped.
 */


#ifndef LAMPLIGHTER_H
#define LAMPLIGHTER_H

#include <stddef.h>
#include <stdint.h>

/*
 Version of this interface. It grows with each addition; what was there stays as it was.
 */
#define LAMPLIGHTER_ABI 2

/*
 Status: done.
 */
#define LAMPLIGHTER_OK 0

/*
 Status: none of the others.
 */
#define LAMPLIGHTER_OTHER 1

/*
 Status: the call makes no sense: a NULL or wrong argument, a closed handle, a handle that is busy, nothing installed.
 */
#define LAMPLIGHTER_USAGE 2

/*
 Status: the site could not be reached, or what came was not the site's. The app still runs; try again later.
 */
#define LAMPLIGHTER_NETWORK 4

/*
 Status: something is not signed, not for this app, or not what was signed. Nothing was changed.
 */
#define LAMPLIGHTER_NOT_TRUSTED 5

/*
 Status: the tree is damaged; lamplighter_heal() puts it right.
 */
#define LAMPLIGHTER_DAMAGED 6

/*
 Status: the disk is full, read-only or failing, or permissions are missing.
 */
#define LAMPLIGHTER_DISK 7

/*
 Status: another program is updating this tree; its lock ends with it.
 */
#define LAMPLIGHTER_LOCKED 8

/*
 Status: this library is too old for the site. The app still runs.
 */
#define LAMPLIGHTER_TOO_OLD 10

/*
 Status: stopped by lamplighter_cancel().
 */
#define LAMPLIGHTER_CANCELLED 11

/*
 Status: a defect of this library, or a callback that threw. The tree is as after a crash: old or new.
 */
#define LAMPLIGHTER_PANIC 12

/*
 State: there was nothing to do; `reason` and `text` say why.
 */
#define LAMPLIGHTER_NOTHING 0

/*
 State: a newer release is offered.
 */
#define LAMPLIGHTER_AVAILABLE 1

/*
 State: a newer release is staged whole; lamplighter_commit() needs no network.
 */
#define LAMPLIGHTER_READY 2

/*
 State: done.
 */
#define LAMPLIGHTER_DONE 3

/*
 Kind of event: a phase begins. `phase`, `total_bytes`.
 */
#define LAMPLIGHTER_STARTED 1

/*
 Kind of event: a phase goes on. `phase`, `done_bytes`, `total_bytes`.
 */
#define LAMPLIGHTER_ADVANCED 2

/*
 Kind of event: something a person or a log should hear of. `code`, `subject`, `text`.
 */
#define LAMPLIGHTER_NOTICE 3

/*
 Kind of event: something to show to the user, from lamplighter_launch(). `text`, `percent`.
 */
#define LAMPLIGHTER_MESSAGE 4

/*
 Kind of event: update now? `build`, `version`, `installed_version`, `needs_restart`; a sentence for the user in `text`.
 The callback returns LAMPLIGHTER_YES, LAMPLIGHTER_LATER or LAMPLIGHTER_SKIP.
 */
#define LAMPLIGHTER_QUESTION 5

/*
 Kind of event: build resources and put them in place (LAMPLIGHTER_BUILD_AND_DEPLOY). The callback returns 0 if that is
 done, else any other number.
 */
#define LAMPLIGHTER_BUILD 6

/*
 Answer: update now. What a launcher without a callback answers.
 */
#define LAMPLIGHTER_YES 0

/*
 Answer: not this time.
 */
#define LAMPLIGHTER_LATER 1

/*
 Answer: do not ask for this build again.
 */
#define LAMPLIGHTER_SKIP 2

/*
 Resources at each start: nothing is done with them.
 */
#define LAMPLIGHTER_LEAVE 0

/*
 Resources at each start: a developer's callback builds them (LAMPLIGHTER_BUILD).
 */
#define LAMPLIGHTER_BUILD_AND_DEPLOY 1

/*
 Resources at each start: compared with the manifest; what differs is fetched.
 */
#define LAMPLIGHTER_VERIFY_AND_DEPLOY 2

/*
 Resources at each start: all of them are fetched, whatever is there.
 */
#define LAMPLIGHTER_ALWAYS_DEPLOY 3

/*
 What the launcher does next: run the app. Confirm it once it works (lamplighter_confirm_healthy()).
 */
#define LAMPLIGHTER_RUN 0

/*
 What the launcher does next: end. The patcher waits for that, and starts the new version.
 */
#define LAMPLIGHTER_HANDED_OVER 1

/*
 What the launcher does next: end. The app was started elsewhere, or anew.
 */
#define LAMPLIGHTER_APP_STARTED 2

/*
 What the launcher does next: start itself again; it was replaced, and the release names nothing to start.
 */
#define LAMPLIGHTER_RESTART 3

/*
 What the launcher does next: end. Another program is updating.
 */
#define LAMPLIGHTER_END_LOCKED 4

/*
 What the launcher does next: end. The app must be downloaded afresh.
 */
#define LAMPLIGHTER_UPDATE_REQUIRED 5

/*
 Before a start: start the app; it has proved itself, or there is nothing to go back to.
 */
#define LAMPLIGHTER_START_PLAIN 0

/*
 Before a start: start the app; it is on probation. Call lamplighter_confirm_healthy() once it works.
 */
#define LAMPLIGHTER_START_PROBATION 1

/*
 Before a start: call lamplighter_rollback() first; the release was started too often without being confirmed.
 */
#define LAMPLIGHTER_START_GO_BACK 2

/*
 An opened tree. 0 is never one. A number that is not, or no longer, an opened tree is a LAMPLIGHTER_USAGE error
 wherever it is passed.
 */
typedef uint64_t LamplighterHandle;

/*
 What went wrong. Filled by every call that takes one, on success too (`status` LAMPLIGHTER_OK, texts empty). It lies in
 the caller's memory; nothing of it is to be freed.
 */
typedef struct LamplighterError {
    /*
     In: sizeof(LamplighterError).
     */
    uint32_t size;
    /*
     What the call returned: the class of the error, to act on.
     */
    int32_t status;
    /*
     1 if the same call may succeed later without anyone doing anything.
     */
    uint32_t may_retry;
    /*
     0.
     */
    uint32_t reserved;
    /*
     Stable name of the cause, such as "E_SIGNATURE", for logs and reports.
     */
    char code[48];
    /*
     One sentence for people, in English; cut if it is longer.
     */
    char message[1024];
} LamplighterError;

/*
 Where an app comes from, for lamplighter_install() and lamplighter_adopt(). Read only.
 */
typedef struct LamplighterOrigin {
    /*
     In: sizeof(LamplighterOrigin).
     */
    uint32_t size;
    /*
     0.
     */
    uint32_t reserved;
    /*
     URL or directory of the site.
     */
    const char *site;
    /*
     App id.
     */
    const char *app;
    /*
     Channel to follow.
     */
    const char *channel;
    /*
     Platform token; NULL: this machine's (lamplighter_platform()).
     */
    const char *platform;
    /*
     The root document to pin, whole, as the publisher gave it. Compile it into the launcher.
     */
    const uint8_t *root;
    /*
     Its bytes.
     */
    size_t root_length;
} LamplighterOrigin;

/*
 One report of a running call. Valid during the callback only: copy what is to be kept.
 */
typedef struct LamplighterEvent {
    /*
     Bytes filled.
     */
    uint32_t size;
    /*
     LAMPLIGHTER_STARTED, LAMPLIGHTER_ADVANCED, LAMPLIGHTER_NOTICE, ... Ignore others, and return 0.
     */
    uint32_t kind;
    /*
     Bytes done in this phase.
     */
    uint64_t done_bytes;
    /*
     Bytes this phase will pass; 0 if that is not known.
     */
    uint64_t total_bytes;
    /*
     "check", "plan", "download", "apply", "commit" or "verify"; never NULL.
     */
    const char *phase;
    /*
     LAMPLIGHTER_NOTICE: stable name of its kind, else ""; never NULL.
     */
    const char *code;
    /*
     LAMPLIGHTER_NOTICE: what it is about: a path, a name in the site, or ""; never NULL.
     */
    const char *subject;
    /*
     LAMPLIGHTER_NOTICE, LAMPLIGHTER_MESSAGE, LAMPLIGHTER_QUESTION: one sentence for people, else ""; never NULL.
     */
    const char *text;
    /*
     LAMPLIGHTER_QUESTION: version of the offered release, else ""; never NULL.
     */
    const char *version;
    /*
     LAMPLIGHTER_QUESTION: version that is installed, or ""; never NULL.
     */
    const char *installed_version;
    /*
     LAMPLIGHTER_QUESTION: build of the offered release, else 0.
     */
    uint64_t build;
    /*
     How much is done, 0 to 100; -1 if that is not known.
     */
    int32_t percent;
    /*
     LAMPLIGHTER_QUESTION: 1 if the app must be closed and started again for it.
     */
    uint32_t needs_restart;
    /*
     LAMPLIGHTER_QUESTION: what is new, newest first, as Markdown: a heading with each version and its notes; else "".
     Never NULL.
     */
    const char *notes;
} LamplighterEvent;

/*
 Called during a call, on the thread that made it, one event at a time. It should return quickly, and must return: it
 may not throw, and may not jump out. What it returns answers LAMPLIGHTER_QUESTION and LAMPLIGHTER_BUILD; for all other
 kinds it is ignored, return 0. It may call lamplighter_cancel(); any other call with the same handle is refused.
 */
typedef int32_t (*LamplighterCallback)(const struct LamplighterEvent *event,
                                       void *user);

/*
 What a deployment did.
 */
typedef struct LamplighterReport {
    /*
     In: sizeof(LamplighterReport). Out: bytes filled.
     */
    uint32_t size;
    /*
     LAMPLIGHTER_DONE, or LAMPLIGHTER_NOTHING with `reason` and `text`.
     */
    uint32_t state;
    /*
     Build the tree is at now; 0 for LAMPLIGHTER_NOTHING.
     */
    uint64_t build;
    /*
     Files written.
     */
    uint64_t files_written;
    /*
     Files removed.
     */
    uint64_t files_removed;
    /*
     Bytes of the files written.
     */
    uint64_t written_bytes;
    /*
     Bytes received from the site.
     */
    uint64_t received_bytes;
    /*
     Requests made.
     */
    uint64_t requests;
    /*
     Edited or foreign files that were moved out of the way; the JSON text names them.
     */
    uint64_t kept_aside;
    /*
     Listed files left as the user edited them; the JSON text names them.
     */
    uint64_t left_edited;
    /*
     Version the tree is at now, for people.
     */
    char version[264];
    /*
     Where this call took content from: "nothing", "pack", "objects", "pack+objects".
     */
    char route[16];
    /*
     As in LamplighterOffer.
     */
    char reason[32];
    /*
     As in LamplighterOffer.
     */
    char text[256];
} LamplighterReport;

/*
 What a check found or a stage made ready.
 */
typedef struct LamplighterOffer {
    /*
     In: sizeof(LamplighterOffer). Out: bytes filled.
     */
    uint32_t size;
    /*
     LAMPLIGHTER_NOTHING, LAMPLIGHTER_AVAILABLE or LAMPLIGHTER_READY.
     */
    uint32_t state;
    /*
     Build of the newer release; 0 if there is none.
     */
    uint64_t build;
    /*
     LAMPLIGHTER_READY: the build it was staged for; 0 if none is recorded.
     */
    uint64_t from_build;
    /*
     Version of the newer release, for people.
     */
    char version[264];
    /*
     LAMPLIGHTER_NOTHING: stable name of the reason: "up_to_date", "no_release", "below_floor", "halted", "bad_build",
     "failed_here", "held", "not_yet", "stale", "root_expired"; "not_staged" from lamplighter_prepared().
     */
    char reason[32];
    /*
     The same for people.
     */
    char text[256];
} LamplighterOffer;

/*
 What is to be done before the app is started.
 */
typedef struct LamplighterStart {
    /*
     In: sizeof(LamplighterStart). Out: bytes filled.
     */
    uint32_t size;
    /*
     LAMPLIGHTER_START_PLAIN, LAMPLIGHTER_START_PROBATION or LAMPLIGHTER_START_GO_BACK.
     */
    uint32_t action;
    /*
     LAMPLIGHTER_START_PROBATION: which start of this release it is, from 1.
     */
    uint64_t start;
    /*
     How many starts without confirmation are allowed.
     */
    uint64_t starts_max;
} LamplighterStart;

/*
 What comparing a tree with its manifest found.
 */
typedef struct LamplighterVerified {
    /*
     In: sizeof(LamplighterVerified). Out: bytes filled.
     */
    uint32_t size;
    /*
     0.
     */
    uint32_t reserved;
    /*
     Build recorded as installed.
     */
    uint64_t build;
    /*
     Rows of its manifest.
     */
    uint64_t rows;
    /*
     Rows that are not as released and should be; the JSON text names them.
     */
    uint64_t damaged;
    /*
     Rows that are not as released and need not be: the user may edit them.
     */
    uint64_t edited;
    /*
     Bytes of files read.
     */
    uint64_t read_bytes;
    /*
     Version recorded as installed, for people.
     */
    char version[264];
} LamplighterVerified;

/*
 What is known of a tree without asking its site.
 */
typedef struct LamplighterTree {
    /*
     In: sizeof(LamplighterTree). Out: bytes filled.
     */
    uint32_t size;
    /*
     1 if a release is recorded as installed.
     */
    uint32_t installed;
    /*
     Its build; 0 if none.
     */
    uint64_t build;
    /*
     Build that is staged whole and waits for lamplighter_commit(); 0 if none.
     */
    uint64_t prepared_build;
    /*
     Build that lamplighter_rollback() leads to; 0 if there is no way back.
     */
    uint64_t previous_build;
    /*
     1 if an update was cut off; the next call that changes the tree finishes or undoes it.
     */
    uint32_t unfinished;
    /*
     0.
     */
    uint32_t reserved;
    /*
     Version recorded as installed, for people.
     */
    char version[264];
} LamplighterTree;

/*
 How an app was set up, for lamplighter_launch() and lamplighter_launch_updater(). Read only; zero is a good default.
 */
typedef struct LamplighterSetup {
    /*
     In: sizeof(LamplighterSetup).
     */
    uint32_t size;
    /*
     1: refuse to run below the minimum build.
     */
    uint32_t check_minimum;
    /*
     1: look for updates.
     */
    uint32_t check_for_updates;
    /*
     LAMPLIGHTER_LEAVE, LAMPLIGHTER_BUILD_AND_DEPLOY, LAMPLIGHTER_VERIFY_AND_DEPLOY or LAMPLIGHTER_ALWAYS_DEPLOY.
     */
    uint32_t resources;
    /*
     Local storage the app is to run in, wherever it was started from; NULL: it runs where it is.
     */
    const char *local;
    /*
     Where local storage is filled from, if the tree does not say; else NULL.
     */
    const struct LamplighterOrigin *origin;
    /*
     A handle of the tree that holds the resources; 0: the app's own tree.
     */
    LamplighterHandle resources_tree;
    /*
     Build compiled into the program, for a tree without a record; else 0.
     */
    uint64_t compiled_build;
    /*
     The program itself; NULL: what the system says. In an interpreter that is the interpreter: give the script's path.
     */
    const char *program;
    /*
     What the app is started with: an array of texts.
     */
    const char *const *arguments;
    /*
     Their number.
     */
    size_t argument_count;
    /*
     Language of the notes in a question, such as "de"; NULL: "en".
     */
    const char *language;
} LamplighterSetup;

/*
 What the launcher does next.
 */
typedef struct LamplighterLaunched {
    /*
     In: sizeof(LamplighterLaunched). Out: bytes filled.
     */
    uint32_t size;
    /*
     LAMPLIGHTER_RUN, LAMPLIGHTER_HANDED_OVER, LAMPLIGHTER_APP_STARTED, LAMPLIGHTER_RESTART, LAMPLIGHTER_END_LOCKED or
     LAMPLIGHTER_UPDATE_REQUIRED.
     */
    uint32_t action;
    /*
     LAMPLIGHTER_HANDED_OVER: the build it leads to. LAMPLIGHTER_UPDATE_REQUIRED: the lowest that would do. Else 0.
     */
    uint64_t build;
    /*
     Process of the patcher or of the app that was started; else 0.
     */
    uint64_t pid;
    /*
     LAMPLIGHTER_RUN: which start of a release on probation it is, from 1; 0 if it is on none.
     */
    uint64_t start;
} LamplighterLaunched;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Version of the interface the library was built with. A launcher built against LAMPLIGHTER_ABI runs with this version
 and every later one.
 */
uint32_t lamplighter_abi_version(void);

/*
 Version of the library, for people. Not to be freed.
 */
const char *lamplighter_version(void);

/*
 Platform token of this machine, such as "linux-x86_64". Not to be freed.
 */
const char *lamplighter_platform(void);

/*
 Opens the tree in the directory `tree`, whether or not anything is installed there yet. Reads and changes nothing.

 `state`: its state directory if not `.lamplighter` in the tree; on the same volume; else NULL. `proxy`: "http://host:port",
 "https://", "socks5://" or "socks5h://", with credentials if need be; "" for no proxy whatever the environment says; NULL:
 HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, else the system's settings. `handle`: gets the handle, 0 on failure.
 Close it with lamplighter_close().
 */
int32_t lamplighter_open(const char *tree,
                         const char *state,
                         const char *proxy,
                         LamplighterHandle *handle,
                         struct LamplighterError *error);

/*
 Closes a handle. Closing 0, or one that is closed, does nothing. A call that is running with it goes on to its end.
 */
void lamplighter_close(LamplighterHandle handle);

/*
 Asks the call that is running with this handle, and all later ones, to stop at the next safe point: they return
 LAMPLIGHTER_CANCELLED. What was fetched is kept for the next time. May be called at any time from any thread, and from
 a callback. LAMPLIGHTER_USAGE if the handle is closed.
 */
int32_t lamplighter_cancel(LamplighterHandle handle);

/*
 Takes a cancel back for calls that begin from now on. To be called before a call that a user may cancel, by the thread
 that will also cancel it: so no cancel is lost.
 */
int32_t lamplighter_clear_cancel(LamplighterHandle handle);

/*
 Follows another channel with this handle; an installed tree remembers it once an update from there was verified.
 */
int32_t lamplighter_follow(LamplighterHandle handle,
                           const char *channel,
                           struct LamplighterError *error);

/*
 Says whether calls with this handle, from the next one on, may install, stage and heal on a network share: `allowed` 1 or
 0, which is what a new handle has. Without it they are refused there with LAMPLIGHTER_DISK and the code
 "E_NETWORK_SHARE", since others may change a file after it was verified. The app that is installed still runs.
 */
int32_t lamplighter_allow_network_share(LamplighterHandle handle,
                                        uint32_t allowed);

/*
 Installs the release a channel offers into the tree's directory, which is made if it is not there. A call that was cut
 off is gone on with by the next. LAMPLIGHTER_USAGE if something is installed already.

 This and all following functions: `callback` is called with events and `user`, NULL: not wanted; `report` (`offer`,
 `verified`, ...) is filled on success, NULL: not wanted; `json` gets the same and more as JSON text, NULL: not wanted,
 else NULL on failure, and to be freed with lamplighter_free_text(); `error` is filled in any case, NULL: not wanted.
 Returns a status, LAMPLIGHTER_OK or what went wrong.
 */
int32_t lamplighter_install(LamplighterHandle handle,
                            const struct LamplighterOrigin *origin,
                            LamplighterCallback callback,
                            void *user,
                            struct LamplighterReport *report,
                            char **json,
                            struct LamplighterError *error);

/*
 Takes over a tree that was installed by other means: recognises its release by what is on disk, and records it. Changes
 no file of the app.
 */
int32_t lamplighter_adopt(LamplighterHandle handle,
                          const struct LamplighterOrigin *origin,
                          LamplighterCallback callback,
                          void *user,
                          struct LamplighterReport *report,
                          char **json,
                          struct LamplighterError *error);

/*
 Asks the site whether there is a newer release: one request as a rule. LAMPLIGHTER_AVAILABLE or LAMPLIGHTER_NOTHING.
 */
int32_t lamplighter_check(LamplighterHandle handle,
                          LamplighterCallback callback,
                          void *user,
                          struct LamplighterOffer *offer,
                          char **json,
                          struct LamplighterError *error);

/*
 Does all of an update but the commit; the app may run and sees nothing of it. LAMPLIGHTER_READY or LAMPLIGHTER_NOTHING. A
 call that was cut off, by a cancel, an error or a crash, is gone on with by the next.

 `from`: URL or directory to take content from instead of the site, or NULL.
 */
int32_t lamplighter_stage(LamplighterHandle handle,
                          const char *from,
                          LamplighterCallback callback,
                          void *user,
                          struct LamplighterOffer *offer,
                          char **json,
                          struct LamplighterError *error);

/*
 Gives the release notes of the offered release, one entry for each build that is skipped over, in `language` ("de",
 "pt-BR") where there are such, else in another: a JSON list of `build`, `version` and `text`, which is Markdown. Empty
 without an offer, or without notes. Raw HTML in the text is text.
 */
int32_t lamplighter_notes(LamplighterHandle handle,
                          const char *language,
                          char **json,
                          struct LamplighterError *error);

/*
 Says what is staged whole and waits for its commit: LAMPLIGHTER_READY or LAMPLIGHTER_NOTHING. Asks no site.
 */
int32_t lamplighter_prepared(LamplighterHandle handle,
                             struct LamplighterOffer *offer,
                             char **json,
                             struct LamplighterError *error);

/*
 Gives up what is staged, and what was fetched for it.
 */
int32_t lamplighter_discard(LamplighterHandle handle,
                            struct LamplighterError *error);

/*
 Brings the tree to what was staged. The app should not run. Needs the site only for files the user took away or edited
 meanwhile. After a crash at any moment the next call that changes the tree finishes the commit or undoes it: the tree
 is the old release or the new one.
 */
int32_t lamplighter_commit(LamplighterHandle handle,
                           LamplighterCallback callback,
                           void *user,
                           struct LamplighterReport *report,
                           char **json,
                           struct LamplighterError *error);

/*
 Stages and commits in one call. LAMPLIGHTER_DONE or LAMPLIGHTER_NOTHING. `from` as for lamplighter_stage().
 */
int32_t lamplighter_update(LamplighterHandle handle,
                           const char *from,
                           LamplighterCallback callback,
                           void *user,
                           struct LamplighterReport *report,
                           char **json,
                           struct LamplighterError *error);

/*
 Brings every listed file back to what the installed release says. Asks the site only for content that is not in the
 tree. `from` as for lamplighter_stage().
 */
int32_t lamplighter_heal(LamplighterHandle handle,
                         const char *from,
                         LamplighterCallback callback,
                         void *user,
                         struct LamplighterReport *report,
                         char **json,
                         struct LamplighterError *error);

/*
 Goes back to the last confirmed release, without the site as a rule. The build it leaves is not installed here again.
 LAMPLIGHTER_OTHER if there is no way back.
 */
int32_t lamplighter_rollback(LamplighterHandle handle,
                             LamplighterCallback callback,
                             void *user,
                             struct LamplighterReport *report,
                             char **json,
                             struct LamplighterError *error);

/*
 The installed release works: the way back is closed, and its space is free again. To be called by the app, or by its
 launcher, once the new release has proved itself. Does nothing if it has already.
 */
int32_t lamplighter_confirm_healthy(LamplighterHandle handle,
                                    struct LamplighterError *error);

/*
 Counts a start of the installed release. To be called by a launcher before it starts the app; the count is durable when
 this returns.
 */
int32_t lamplighter_count_start(LamplighterHandle handle,
                                struct LamplighterStart *start,
                                struct LamplighterError *error);

/*
 The user does not want to be asked for `build` again. A launcher finds these builds in the JSON of lamplighter_status().
 */
int32_t lamplighter_skip(LamplighterHandle handle,
                         uint64_t build,
                         struct LamplighterError *error);

/*
 Compares every listed file with the installed release, by BLAKE3 and, if `with_crc` is not 0, by its pair of CRCs too.
 Damaged files are no error of the call: `verified` counts them, the JSON text names them.
 */
int32_t lamplighter_verify(LamplighterHandle handle,
                           uint32_t with_crc,
                           LamplighterCallback callback,
                           void *user,
                           struct LamplighterVerified *verified,
                           char **json,
                           struct LamplighterError *error);

/*
 Says what is known of the tree without asking its site. A tree in which nothing is installed is no error: all is 0.
 */
int32_t lamplighter_status(LamplighterHandle handle,
                           struct LamplighterTree *tree,
                           char **json,
                           struct LamplighterError *error);

/*
 Decides what a program does at its start, and does it: recovers, looks for an update, asks (LAMPLIGHTER_QUESTION), stages,
 hands over to the patcher or commits, sees to resources, counts the start, goes back from a release that never proved
 itself. What goes wrong with an update alone is told (LAMPLIGHTER_MESSAGE), and the app runs as it is.

 The program then does what `launched` says. LAMPLIGHTER_RUN in a program that is not the app itself: start the app, which
 the JSON of lamplighter_status() names as `entry`.
 */
int32_t lamplighter_launch(LamplighterHandle handle,
                           const struct LamplighterSetup *setup,
                           LamplighterCallback callback,
                           void *user,
                           struct LamplighterLaunched *launched,
                           char **json,
                           struct LamplighterError *error);

/*
 The same for a program that only updates the app, or installs it, and starts it. Waits for at most `wait_ms` milliseconds
 if another program is updating. Asks nothing. Whatever stops the update is an error, and then nothing is started.
 */
int32_t lamplighter_launch_updater(LamplighterHandle handle,
                                   const struct LamplighterSetup *setup,
                                   uint64_t wait_ms,
                                   LamplighterCallback callback,
                                   void *user,
                                   struct LamplighterLaunched *launched,
                                   char **json,
                                   struct LamplighterError *error);

/*
 Frees a text that was given through `json`. NULL does nothing. To be called once for each, and for nothing else.
 */
void lamplighter_free_text(char *text);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LAMPLIGHTER_H */
