#include "cache.h"

#include <cstdio>
#include <cstring>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif
#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace unrolled {
namespace {

constexpr int64_t kKilo = 1 << 10, kMega = 1 << 20;

bool read_line(const char* folder, int index, const char* name, char (&line)[256]) {
    char path[512];
    if (std::snprintf(path, sizeof path, "%s/index%d/%s", folder, index, name) >= static_cast<int>(sizeof path))
        return false;
    std::FILE* const file = std::fopen(path, "r");
    if (file == nullptr) return false;
    const bool read = std::fgets(line, sizeof line, file) != nullptr;
    std::fclose(file);
    return read;
}

// "1024K" and the like; 0 for what is no size.
int64_t size_of(const char* text) {
    long long number = 0;
    char unit = ' ';
    if (std::sscanf(text, "%9lld%c", &number, &unit) < 1 || number <= 0) return 0;
    return number * (unit == 'K' ? kKilo : unit == 'M' ? kMega : 1);
}

// How many processors a list such as "0-3,8" names; 1 for what is no list.
int64_t count_of(const char* text) {
    int64_t count = 0;
    for (const char* at = text; *at != 0 && *at != '\n';) {
        int from = 0, to = 0, used = 0;
        if (std::sscanf(at, "%7d%n", &from, &used) < 1) break;
        at += used, to = from;
        if (*at == '-' && std::sscanf(at, "-%7d%n", &to, &used) == 1) at += used;
        count += to >= from ? to - from + 1 : 0;
        at += *at == ',';
    }
    return count > 0 ? count : 1;
}

// What a level holds, where that is likely.
void put(Caches& caches, int level, int64_t bytes) {
    int64_t* const to[] = {&caches.first, &caches.second, &caches.third};
    const int64_t least[] = {4 * kKilo, 32 * kKilo, 256 * kKilo}, most[] = {kMega, 256 * kMega, 4096 * kMega};
    if (level < 1 || level > 3 || bytes < least[level - 1] || bytes > most[level - 1]) return;
    *to[level - 1] = bytes;
    caches.read |= level < 3;
}

Caches of_this_machine() {
    Caches caches = read_caches("/sys/devices/system/cpu/cpu0/cache");
    if (caches.read) return caches;
#if defined(_SC_LEVEL1_DCACHE_SIZE)
    put(caches, 1, sysconf(_SC_LEVEL1_DCACHE_SIZE));
    put(caches, 2, sysconf(_SC_LEVEL2_CACHE_SIZE));
    put(caches, 3, sysconf(_SC_LEVEL3_CACHE_SIZE));
#elif defined(__APPLE__)
    const char* const names[] = {"hw.perflevel0.l1dcachesize", "hw.perflevel0.l2cachesize", "hw.l3cachesize"};
    for (int level = 1; level <= 3; ++level) {
        int64_t bytes = 0, cores = 1;
        size_t size = sizeof bytes;
        if (sysctlbyname(names[level - 1], &bytes, &size, nullptr, 0) != 0) continue;
        size = sizeof cores;
        if (level == 2 && sysctlbyname("hw.perflevel0.cpusperl2", &cores, &size, nullptr, 0) != 0) cores = 1;
        put(caches, level, bytes / (cores > 0 ? cores : 1));
    }
#endif
    return caches;
}

}  // namespace

Caches read_caches(const char* folder) {
    Caches caches;
    char line[256];
    int64_t threads_of_core = 1;
    for (int index = 0; index < 16; ++index) {  // by rising level
        if (!read_line(folder, index, "type", line)) continue;
        if (std::strncmp(line, "Data", 4) != 0 && std::strncmp(line, "Unified", 7) != 0) continue;
        if (!read_line(folder, index, "level", line)) continue;
        const int level = line[0] - '0';
        const int64_t sharers = read_line(folder, index, "shared_cpu_list", line) ? count_of(line) : 1;
        if (level == 1) threads_of_core = sharers;
        const int64_t cores = level == 2 && sharers > threads_of_core ? sharers / threads_of_core : 1;
        if (read_line(folder, index, "size", line)) put(caches, level, size_of(line) / cores);
    }
    return caches;
}

const Caches& caches() {
    static const Caches read = of_this_machine();
    return read;
}

}  // namespace unrolled
