/* Preloaded into programs: cuts their power at a given moment; notes what is on the disk by then.

   POWER_CUT_FOLDER  what happens in this folder counts; unset: nothing does
   POWER_CUT_NOTES   a folder for the notes
   POWER_CUT_AT      before this event, counted from 1, all processes of the group are killed

   Events are fsync() and fdatasync(), of files and folders, and rename(). "events" has a byte for
   each, "log" a line for each that has happened, its parts separated by a character 1:

     S inode mtime size   a file is on the disk as it is now
     D folder             a folder's names are
     R old new number     a rename; what had the new name before is "number" among the notes

   power_cut.py makes of this what a power cut leaves. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int counts(const char* path) {
  const char* folder = getenv("POWER_CUT_FOLDER");
  return folder != NULL && *folder != '\0' && strncmp(path, folder, strlen(folder)) == 0;
}

/* Append to a note; return where it ends now. */
static long append(const char* name, const char* text) {
  char path[PATH_MAX];
  snprintf(path, sizeof(path), "%s/%s", getenv("POWER_CUT_NOTES"), name);
  const int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0 || write(file, text, strlen(text)) < 0) abort();
  const long end = lseek(file, 0, SEEK_CUR);
  close(file);
  return end;
}

/* Count an event; return its number, unless the power is cut before it. */
static long count_event(void) {
  const long number = append("events", ".");
  const char* at = getenv("POWER_CUT_AT");
  if (at != NULL && number >= atol(at) && atol(at) > 0) {
    kill(0, SIGKILL);
    for (;;) pause();
  }
  return number;
}

static int sync_with(const char* name, int file) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  char link[64], path[PATH_MAX], line[PATH_MAX + 64];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
  const ssize_t length = readlink(link, path, sizeof(path) - 1);
  if (length < 0) return real(file);
  path[length] = '\0';
  if (!counts(path)) return real(file);
  count_event();
  const int failed = real(file);
  struct stat found;
  if (failed == 0 && fstat(file, &found) == 0) {
    if (S_ISDIR(found.st_mode)) {
      snprintf(line, sizeof(line), "D\1%s\n", path);
    } else {
      snprintf(line, sizeof(line), "S\1%lu\1%ld%09ld\1%ld\n", (unsigned long)found.st_ino,
               (long)found.st_mtim.tv_sec, (long)found.st_mtim.tv_nsec, (long)found.st_size);
    }
    append("log", line);
  }
  return failed;
}

int fsync(int file) { return sync_with("fsync", file); }
int fdatasync(int file) { return sync_with("fdatasync", file); }

/* Make a path absolute; its last part need not exist. */
static int absolute(const char* path, char* result) {
  char folder[PATH_MAX];
  const char* slash = strrchr(path, '/');
  snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
  if (realpath(folder, result) == NULL) return 0;
  const size_t length = strlen(result);
  snprintf(result + length, PATH_MAX - length, "/%s", slash ? slash + 1 : path);
  return 1;
}

int rename(const char* old, const char* new) {
  int (*real)(const char*, const char*) =
      (int (*)(const char*, const char*))dlsym(RTLD_NEXT, "rename");
  char from[PATH_MAX], to[PATH_MAX], before[PATH_MAX + 32], line[2 * PATH_MAX + 64];
  if (!absolute(old, from) || !absolute(new, to) || !counts(to)) return real(old, new);
  const long number = count_event();
  snprintf(before, sizeof(before), "%s/%ld", getenv("POWER_CUT_NOTES"), number);
  const int linked = link(to, before) == 0; /* fails where nothing was before */
  const int failed = real(old, new);
  if (failed == 0) {
    snprintf(line, sizeof(line), "R\1%s\1%s\1%ld\n", from, to, number);
    append("log", line);
  } else if (linked) {
    unlink(before);
  }
  return failed;
}
