/*
 * An app for tests of launchers and patchers on Windows: writes down how it was started.
 *
 * Appends `<build><argument><argument>...` and a newline to the file the variable APP_LOG names, in UTF-8. Its build is the
 * text between the last `<` and `>` of its own file, which a test appends: so no build is compiled twice.
 * Started with the arguments `until` and a path, it runs on until there is something at that path, ten minutes at most.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <windows.h>

static void put(FILE *log, const wchar_t *text)
{
    int bytes = WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
    char *utf8 = malloc((size_t)bytes);
    if (!utf8) exit(9);
    WideCharToMultiByte(CP_UTF8, 0, text, -1, utf8, bytes, NULL, NULL);
    fprintf(log, "<%s>", utf8);
    free(utf8);
}

static void put_build(FILE *log)
{
    wchar_t path[4096];
    char tail[32] = {0};
    GetModuleFileNameW(NULL, path, 4096);
    FILE *own = _wfopen(path, L"rb");
    if (!own || fseek(own, -(long)(sizeof tail - 1), SEEK_END) || !fread(tail, 1, sizeof tail - 1, own)) exit(8);
    fclose(own);
    /* What stands before it may hold zero bytes. */
    char *begins = tail + sizeof tail - 2;
    while (begins > tail && *begins != '<') begins--;
    if (*begins != '<') exit(7);
    fputs(begins, log);
}

int wmain(int count, wchar_t **arguments)
{
    const wchar_t *path = _wgetenv(L"APP_LOG");
    FILE *log = path ? _wfopen(path, L"ab") : NULL;
    if (log) {
        /* One write: several programs may log at once. */
        setvbuf(log, NULL, _IOFBF, 1 << 17);
        put_build(log);
        for (int n = 1; n < count; n++) put(log, arguments[n]);
        fputs("\n", log);
        fclose(log);
    }
    if (count > 2 && wcscmp(arguments[1], L"until") == 0)
        for (int n = 0; n < 12000 && GetFileAttributesW(arguments[2]) == INVALID_FILE_ATTRIBUTES; n++) Sleep(50);
    return 0;
}
