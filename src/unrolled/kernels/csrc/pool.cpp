#include "pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <signal.h>
#define UNROLLED_POSIX 1
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace unrolled {
namespace {

constexpr int kMostThreads = 512;  // a wild thread count must not start threads until the system gives up
constexpr std::size_t kLine = 64;  // what several threads write stands on cache lines of its own
constexpr std::chrono::microseconds kSpin{20};  // about what a sleep and a wake-up cost

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// A counter to wait on: ring() raises it, wait(seen) returns once it is no longer `seen`. Waiting
// spins for a bounded time and then sleeps; ringing takes the lock only where somebody sleeps.
class alignas(kLine) Bell {
  public:
    uint32_t count() const { return count_.load(std::memory_order_relaxed); }

    // Sequentially consistent with wait(): either the ringer sees the sleeper, or the sleeper the ring.
    void ring() {
        count_.fetch_add(1, std::memory_order_seq_cst);
        if (sleepers_.load(std::memory_order_seq_cst) == 0) return;
        { std::lock_guard<std::mutex> lock(mutex_); }  // a sleeper is in wait(), or has yet to look
        wake_.notify_all();
    }

    void wait(uint32_t seen, bool spin) {
        if (spin && spun(seen)) return;
        std::unique_lock<std::mutex> lock(mutex_);
        sleepers_.fetch_add(1, std::memory_order_seq_cst);
        while (count_.load(std::memory_order_seq_cst) == seen) wake_.wait(lock);
        sleepers_.fetch_sub(1, std::memory_order_relaxed);
    }

  private:
    bool spun(uint32_t seen) const {
        const auto start = std::chrono::steady_clock::now();
        do {
            for (int i = 0; i < 32; ++i) {
                if (count_.load(std::memory_order_acquire) != seen) return true;
                relax();
            }
        } while (std::chrono::steady_clock::now() - start < kSpin);
        return false;
    }

    std::atomic<uint32_t> count_{0};
    std::atomic<int> sleepers_{0};
    std::mutex mutex_;
    std::condition_variable wake_;
};

#ifdef UNROLLED_POSIX
// While it lives, this thread holds back signals and so does every thread that it starts: a handler
// must run in a thread of the program's own. Faults stay open, so that a crash can still be reported.
class SignalsBlocked {
  public:
    SignalsBlocked() {
        sigset_t blocked;
        sigfillset(&blocked);
        for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) sigdelset(&blocked, fault);
        pthread_sigmask(SIG_SETMASK, &blocked, &before_);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  private:
    sigset_t before_;
};
#else
struct SignalsBlocked {
    SignalsBlocked() {}
};
#endif

// How many cores this thread may run on; 0: not known.
int core_count() {
#if defined(__linux__)
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return CPU_COUNT(&allowed);
#endif
    return static_cast<int>(std::thread::hardware_concurrency());
}

int this_core() {
#if defined(__linux__)
    return sched_getcpu();
#else
    return -1;
#endif
}

}  // namespace

// There is one, made at the first lease of several threads and never destroyed: its threads are
// detached and asleep in it when the process ends.
class Pool {
  public:
    static Pool& get();
    static void forget();  // in the child of a fork

    // Nobody waits for the pool, and a job's own thread is refused like any other caller.
    bool take() { return !busy_.exchange(true, std::memory_order_acquire); }
    void give_back() { busy_.store(false, std::memory_order_release); }

    // For the holder: has `wanted` threads ready, counting the caller's own, or as many as can be.
    int grow(int wanted);
    // Returns how many threads came together: `threads`, and they have run the job; or fewer, and they have not.
    int run(void (*job)(void*, int), void* context, int threads);
    void borrow(Team team) { team_ = team; }
    void barrier();

  private:
    struct Worker {
        Bell bell;
        std::thread::native_handle_type handle{};
        int kept_off = -1;  // the core that it may not run on
    };

    bool start();
    static void join(void* pool);
    void work(Worker& worker, int thread);
    void keep_off(Worker& worker, int core, int others);

    static std::atomic<Pool*> current_;

    std::atomic<bool> busy_{false};
    const int cores_ = core_count();
    std::vector<std::unique_ptr<Worker>> workers_;

    Team team_;  // parallel is null: none
    std::atomic<int> joined_{0}, came_{0};

    // The job: written by the holder before it rings, read by the workers after.
    void (*job_)(void*, int) = nullptr;
    void* context_ = nullptr;
    int threads_ = 1;
    bool spin_ = true;

    alignas(kLine) std::atomic<int> running_{0};
    Bell done_;
    alignas(kLine) std::atomic<int> arrived_{0};
    Bell passed_;
};

std::atomic<Pool*> Pool::current_{nullptr};

namespace {
#ifdef UNROLLED_POSIX
// When the library is loaded, so that no lock guards it that a fork could catch closed.
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, Pool::forget);
#endif
}  // namespace

Pool& Pool::get() {
    Pool* pool = current_.load(std::memory_order_acquire);
    if (pool) return *pool;
    auto made = std::make_unique<Pool>();
    if (current_.compare_exchange_strong(pool, made.get(), std::memory_order_acq_rel)) return *made.release();
    return *pool;  // another thread was first
}

// The child has none of the threads, and the locks are as they were caught: leave it all behind.
void Pool::forget() { current_.store(nullptr, std::memory_order_release); }

// A thread of the borrowed team. All of them see the same size, so all of them work or none does.
void Pool::join(void* self) {
    Pool& pool = *static_cast<Pool*>(self);
    const int came = pool.team_.size();
    pool.came_.store(came, std::memory_order_relaxed);
    if (came == pool.threads_)
        pool.job_(pool.context_, pool.joined_.fetch_add(1, std::memory_order_relaxed));
}

int Pool::grow(int wanted) {
    wanted = std::min(wanted, kMostThreads);
    if (team_.parallel) return team_.in_parallel() ? 1 : wanted;
    const std::size_t others = static_cast<std::size_t>(wanted - 1);
    while (workers_.size() < others && start()) {
    }
    return 1 + static_cast<int>(std::min(workers_.size(), others));
}

bool Pool::start() try {
    workers_.push_back(std::make_unique<Worker>());
    Worker& worker = *workers_.back();
    const int thread = static_cast<int>(workers_.size());
    const SignalsBlocked blocked;
    try {
        std::thread started([this, &worker, thread] { work(worker, thread); });
        worker.handle = started.native_handle();
        started.detach();
    } catch (...) {
        workers_.pop_back();
        return false;
    }
    return true;
} catch (const std::exception&) {  // no memory for another: do with those there are
    return false;
}

void Pool::work(Worker& worker, int thread) {
    bool spin = false;
    for (uint32_t seen = 0;; ++seen) {
        worker.bell.wait(seen, spin);
        spin = spin_;
        job_(context_, thread);
        if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) done_.ring();
    }
}

// A thread that is woken tends to be put on the waker's own core, above all in a virtual machine, whose
// idle cores look taken; there the two would take turns until the system finds out, milliseconds later.
void Pool::keep_off(Worker& worker, int core, int others) {
#if defined(__linux__)
    if (core < 0 || worker.kept_off == core) return;
    worker.kept_off = core;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    CPU_CLR(static_cast<std::size_t>(core), &allowed);
    if (CPU_COUNT(&allowed) < others) return;
    pthread_setaffinity_np(worker.handle, sizeof allowed, &allowed);
#else
    (void)worker, (void)core, (void)others;
#endif
}

int Pool::run(void (*job)(void*, int), void* context, int threads) {
    job_ = job;
    context_ = context;
    threads_ = threads;
    spin_ = cores_ == 0 || threads <= cores_;  // with more threads than cores, spin and nobody works
    if (team_.parallel) {
        joined_.store(0, std::memory_order_relaxed);
        team_.parallel(join, this, static_cast<unsigned>(threads), 0);
        return came_.load(std::memory_order_relaxed);
    }
    running_.store(threads - 1, std::memory_order_relaxed);
    const uint32_t seen = done_.count();
    const int core = spin_ ? this_core() : -1;
    for (int i = 0; i < threads - 1; ++i) {
        Worker& worker = *workers_[static_cast<std::size_t>(i)];
        keep_off(worker, core, threads - 1);
        worker.bell.ring();
    }
    job(context, 0);
    done_.wait(seen, spin_);
    return threads;
}

void Pool::barrier() {
    const uint32_t seen = passed_.count();  // it cannot ring before this thread has arrived
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 < threads_) {
        passed_.wait(seen, spin_);
    } else {
        arrived_.store(0, std::memory_order_relaxed);
        passed_.ring();
    }
}

void borrow(Team team) {
    Pool& pool = Pool::get();
    while (!pool.take()) std::this_thread::yield();
    pool.borrow(team);
    pool.give_back();
}

Lease::Lease(int threads) {
    if (threads <= 1) return;
    Pool& pool = Pool::get();
    if (!pool.take()) return;
    threads_ = pool.grow(threads);
    if (threads_ > 1) {
        pool_ = &pool;
    } else {
        pool.give_back();
    }
}

Lease::~Lease() {
    if (pool_) pool_->give_back();
}

bool Lease::run(void (*job)(void* context, int thread), void* context) {
    if (!pool_) {
        job(context, 0);
        return true;
    }
    const int came = pool_->run(job, context, threads_);
    if (came == threads_) return true;
    threads_ = came < threads_ && came > 1 ? came : 1;
    if (threads_ > 1) return false;
    pool_->give_back();
    pool_ = nullptr;
    return false;
}

void Lease::barrier() {
    if (pool_) pool_->barrier();
}

}  // namespace unrolled
