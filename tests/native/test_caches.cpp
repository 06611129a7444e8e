#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "cache.h"
#include "check.h"
#include "tests.h"

namespace driver {
namespace {

using unrolled::Caches;

struct Entry {
    std::string level, type, size, sharers;
};

// A folder as Linux has one for a processor; gone when the test ends.
class Folder {
  public:
    explicit Folder(const std::vector<Entry>& entries) {
        check(mkdtemp(path_) != nullptr, "no temporary folder");
        for (size_t i = 0; i < entries.size(); ++i) {
            const std::string index = path_ + ("/index" + std::to_string(i));
            check(mkdir(index.c_str(), 0700) == 0, "no folder for an entry");
            made_.push_back(index);
            write(index + "/level", entries[i].level);
            write(index + "/type", entries[i].type);
            write(index + "/size", entries[i].size);
            write(index + "/shared_cpu_list", entries[i].sharers);
        }
    }
    ~Folder() {
        for (auto it = made_.rbegin(); it != made_.rend(); ++it) std::remove(it->c_str());
        rmdir(path_);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    Caches read() const { return unrolled::read_caches(path_); }

  private:
    void write(const std::string& path, const std::string& text) {
        if (text.empty()) return;
        std::FILE* const file = std::fopen(path.c_str(), "w");
        check(file != nullptr, "no file for an entry");
        std::fputs((text + "\n").c_str(), file);
        std::fclose(file);
        made_.push_back(path);
    }
    char path_[32] = "/tmp/unrolled-caches-XXXXXX";
    std::vector<std::string> made_;
};

void expect(const char* what, const std::vector<Entry>& entries, Caches want) {
    const Caches got = Folder(entries).read();
    const auto text = [](const Caches& c) {
        return std::to_string(c.first) + ", " + std::to_string(c.second) + ", " + std::to_string(c.third) +
               (c.read ? ", read" : ", guessed");
    };
    check(text(got) == text(want), std::string("caches, ") + what + ": expected " + text(want) + ", got " + text(got));
}

}  // namespace

void test_caches() {
    now_testing("caches");
    constexpr int64_t kilo = 1 << 10, mega = 1 << 20;
    const Caches guess;
    const Entry code{"1", "Instruction", "4096K", "0"};
    expect("one thread a core", {{"1", "Data", "48K", "0"}, code, {"2", "Unified", "1024K", "0"}, {"3", "Unified", "32768K", "0-1"}},
           {48 * kilo, mega, 32 * mega, true});
    expect("two threads a core, without a third", {{"1", "Data", "32K", "0,8"}, code, {"2", "Unified", "2M", "0,8"}},
           {32 * kilo, 2 * mega, 0, true});
    expect("a second cache for four cores", {{"1", "Data", "64K", "0"}, {"2", "Unified", "4096K", "0-3"}},
           {64 * kilo, mega, 0, true});
    expect("a second cache that is not said", {{"1", "Data", "64K", "0"}}, {64 * kilo, guess.second, 0, true});
    expect("nothing", {}, guess);
    expect("no sizes", {{"1", "Data", "", ""}, {"2", "Unified", "K", ""}, {"3", "Unified", "-1K", ""}}, guess);
    expect("sizes that cannot be", {{"1", "Data", "0K", "0"}, {"1", "Data", "99999999M", "0"}, {"7", "Data", "48K", "0"},
                                    {"2", "Unified", "1K", "0"}, {"", "Data", "48K", "0"}, {"1", "", "48K", "0"}},
           guess);
    expect("lists that are none", {{"1", "Data", "32K", "x"}, {"2", "Unified", "512K", "5-1,,"}},
           {32 * kilo, 512 * kilo, 0, true});
    check(unrolled::read_caches(std::string(4096, 'x').c_str()).first == guess.first, "caches: a path that is too long");
    check(unrolled::caches().first > 0 && unrolled::caches().second > 0, "caches: none on this machine");
}

}  // namespace driver
