// The engine's own tests, without Python: driver [--cases N] [--seed S] [--isa NAME] [--sweep] [--only PART]
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <string>

#include <unistd.h>

#include "check.h"
#include "compare.h"
#include "tests.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#include <sanitizer/common_interface_defs.h>
#define UNROLLED_SANITIZED 1
#endif

namespace driver {
namespace {

char current[1024] = "nothing yet";

void on_fault(int signal) {
    const char* fault = "\nFAILED: a fault, such as memory read too far: ";
    const char* text = signal == SIGALRM ? "\nFAILED: hangs: " : fault;
    (void)!write(STDERR_FILENO, text, std::strlen(text));
    (void)!write(STDERR_FILENO, current, std::strlen(current));
    (void)!write(STDERR_FILENO, "\n", 1);
    _exit(1);
}

struct Options {
    int64_t cases = 300;
    uint64_t seed = 1;
    bool sweep = false;
    std::string only;  // empty: all parts
    std::vector<Isa> isas;
};

Options parse(int argc, char** argv) {
    Options options;
    std::string isa;
    for (int n = 1; n < argc; ++n) {
        const std::string flag = argv[n];
        const char* value = n + 1 < argc ? argv[n + 1] : "";
        if (flag == "--sweep") options.sweep = true;
        else if (++n >= argc) throw Failure(flag + ": expected a value, got none");
        else if (flag == "--cases") options.cases = std::atoll(value);
        else if (flag == "--seed") options.seed = std::strtoull(value, nullptr, 10);
        else if (flag == "--isa") isa = value;
        else if (flag == "--only") options.only = value;
        else throw Failure(flag + ": expected --cases, --seed, --isa, --only or --sweep, got this");
    }
    for (Isa one : {Isa::baseline, Isa::avx2, Isa::avx512, Isa::avx512_bf16})
        if (unrolled::runs(one) && (isa.empty() || isa == name(one))) options.isas.push_back(one);
    if (options.isas.empty()) throw Failure("--isa: expected an instruction set that runs here, got " + isa);
    return options;
}

// Counts failures; a part that fails often says enough after a few.
class Report {
  public:
    bool run(const std::function<void()>& test) {
        try {
            test();
            return true;
        } catch (const std::exception& failure) {
            std::fprintf(stderr, "FAILED: %s: %s\n", under_test(), failure.what());
            ++failures_;
            return false;
        }
    }
    bool enough() const { return failures_ >= 10; }
    int failures() const { return failures_; }

  private:
    int failures_ = 0;
};

using CaseTest = void (*)(const Case&, const std::vector<Isa>&);

void run_cases(const Options& options, Report& report, const char* part, CaseTest test, int64_t every) {
    long long done = 0;
    for (int64_t n = 0; n < options.cases && !report.enough(); n += every, ++done)
        report.run([&] { test(draw(options.seed + static_cast<uint64_t>(n)), options.isas); });
    std::printf("%s: %lld cases on %zu instruction sets\n", part, done, options.isas.size());
}

int run(const Options& options) {
    Report report;
    const auto wanted = [&](const char* part) {
        std::fflush(stdout);
        return (options.only.empty() || options.only == part) && !report.enough();
    };
    if (wanted("pool") && report.run(test_pool)) std::printf("pool: well\n");
    if (wanted("caches") && report.run(test_caches)) std::printf("caches: well\n");
    if (wanted("validate") && report.run([&] { test_validate(options.isas); })) std::printf("validate: well\n");
    if (wanted("naive")) {
        for (int64_t n = 0; n < options.cases && !report.enough(); ++n)
            report.run([&] { test_naive(options.seed + static_cast<uint64_t>(n)); });
        std::printf("naive: %lld cases against finite differences\n", static_cast<long long>(options.cases));
    }
    if (wanted("activations")) {
        std::string summary;
        report.run([&] { summary = test_activations(options.isas, options.sweep); });
        std::printf("activations%s:\n%s", options.sweep ? ", every float" : "", summary.c_str());
    }
    if (wanted("layer")) {
        run_cases(options, report, "layer", test_layer, 1);
        std::printf("%s", margins().c_str());
    }
    if (wanted("bits")) run_cases(options, report, "bits", test_bits, 2);
    if (wanted("stream")) {
        report.run([&] { test_stream_errors(options.isas); });
        long long done = 0;
        for (int64_t n = 0; n < options.cases && !report.enough(); n += 3, ++done)
            report.run([&] { test_stream(options.seed + static_cast<uint64_t>(n), options.isas); });
        std::printf("stream: %lld networks on %zu instruction sets, in 3 types of weights\n", done, options.isas.size());
    }
    std::printf("%d failures\n", report.failures());
    return report.failures() ? 1 : 0;
}

}  // namespace

void now_testing(const std::string& line) { std::snprintf(current, sizeof current, "%s", line.c_str()); }
const char* under_test() { return current; }

}  // namespace driver

int main(int argc, char** argv) {
#ifdef UNROLLED_SANITIZED
    __sanitizer_set_death_callback([] { driver::on_fault(SIGSEGV); });
#else
    for (int fault : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGALRM}) std::signal(fault, driver::on_fault);
#endif
    try {
        return driver::run(driver::parse(argc, argv));
    } catch (const driver::Failure& failure) {
        std::fprintf(stderr, "%s\n", failure.what());
        return 2;
    }
}
