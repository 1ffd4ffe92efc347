// Lamplighter for C#: copy this file into a launcher, beside the library. For .NET and Mono.
//
// A Tree is one installed directory. Its methods block, may be called from any thread, one at a time; Cancel may be called
// at any time. Errors are thrown as LamplighterException, with Status, Code and the message.

using System;
using System.Runtime.InteropServices;
using System.Text;

namespace Lamplighter
{
    public enum Status { Ok = 0, Other = 1, Usage = 2, Network = 4, NotTrusted = 5, Damaged = 6, Disk = 7, Locked = 8, TooOld = 10, Cancelled = 11, Panic = 12 }
    public enum State : uint { Nothing = 0, Available = 1, Ready = 2, Done = 3 }
    public enum Kind : uint { Started = 1, Advanced = 2, Notice = 3, Message = 4, Question = 5, Build = 6 }
    public enum StartAction : uint { Plain = 0, Probation = 1, GoBack = 2 }

    public class LamplighterException : Exception
    {
        public readonly Status Status;
        public readonly string Code;
        public readonly bool MayRetry;

        internal LamplighterException(ref Native.Error error) : base(Native.Text(error.message))
        {
            Status = (Status)error.status;
            Code = Native.Text(error.code);
            MayRetry = error.mayRetry != 0;
        }
    }

    // What a check found or a stage made ready.
    public struct Offer { public State State; public ulong Build; public string Version, Reason, Text; }

    // What a deployment did.
    public struct Report { public State State; public ulong Build, FilesWritten, ReceivedBytes; public string Version, Route, Reason; }

    // What is known of a tree without asking its site.
    public struct TreeStatus { public bool Installed; public ulong Build, PreparedBuild, PreviousBuild; public string Version; }

    // What is to be done before the app is started.
    public struct Start { public StartAction Action; public ulong Number, Max; }

    // One report of a running call.
    public struct Event { public Kind Kind; public ulong DoneBytes, TotalBytes; public int Percent; public string Phase, Code, Subject, Text; }

    public sealed class Tree : IDisposable
    {
        readonly ulong handle;
        // Kept as long as the tree: the library calls it during each call.
        readonly Native.Callback callback;
        Exception thrown;

        public Tree(string tree, Action<Event> onEvent = null, string state = null, string proxy = null)
        {
            if (Native.lamplighter_abi_version() < Native.Abi) throw new DllNotFoundException("the library is older than this file");
            callback = (pointer, user) => {
                try {
                    if (onEvent != null) onEvent(Native.Read(pointer));
                } catch (Exception exception) {
                    // Nothing may be thrown through the library: stop the call, throw after it.
                    thrown = exception;
                    Cancel();
                }
                return 0;
            };
            var error = Native.NewError();
            Check(Native.lamplighter_open(Native.Utf8(tree), Native.Utf8(state), Native.Utf8(proxy), out handle, ref error), ref error);
        }

        public static string Version { get { return Native.Text(Native.lamplighter_version()); } }
        public static string Platform { get { return Native.Text(Native.lamplighter_platform()); } }

        public void Dispose() { Native.lamplighter_close(handle); }
        public void Cancel() { Native.lamplighter_cancel(handle); }
        public void ClearCancel() { Native.lamplighter_clear_cancel(handle); }

        // Calls from the next one on may install, stage and heal on a network share.
        public void AllowNetworkShare(bool allowed = true) { Native.lamplighter_allow_network_share(handle, allowed ? 1u : 0u); }

        public TreeStatus GetStatus()
        {
            var error = Native.NewError();
            var tree = new Native.Tree { size = (uint)Marshal.SizeOf(typeof(Native.Tree)) };
            Check(Native.lamplighter_status(handle, ref tree, IntPtr.Zero, ref error), ref error);
            return new TreeStatus {
                Installed = tree.installed != 0, Build = tree.build, PreparedBuild = tree.preparedBuild,
                PreviousBuild = tree.previousBuild, Version = Native.Text(tree.version),
            };
        }

        public Report Install(string site, string app, string channel, byte[] root, string platform = null)
        {
            var error = Native.NewError();
            var report = Native.NewReport();
            var pinned = GCHandle.Alloc(root, GCHandleType.Pinned);
            var texts = new[] { Native.Utf8(site), Native.Utf8(app), Native.Utf8(channel), Native.Utf8(platform) };
            var pins = Array.ConvertAll(texts, text => GCHandle.Alloc(text, GCHandleType.Pinned));
            try {
                var origin = new Native.Origin {
                    size = (uint)Marshal.SizeOf(typeof(Native.Origin)),
                    site = pins[0].AddrOfPinnedObject(), app = pins[1].AddrOfPinnedObject(),
                    channel = pins[2].AddrOfPinnedObject(),
                    platform = platform == null ? IntPtr.Zero : pins[3].AddrOfPinnedObject(),
                    root = pinned.AddrOfPinnedObject(), rootLength = (UIntPtr)root.Length,
                };
                Check(Native.lamplighter_install(handle, ref origin, callback, IntPtr.Zero, ref report, IntPtr.Zero, ref error), ref error);
            } finally {
                pinned.Free();
                foreach (var pin in pins) pin.Free();
            }
            return Native.Public(ref report);
        }

        public Offer Check()
        {
            var error = Native.NewError();
            var offer = Native.NewOffer();
            Check(Native.lamplighter_check(handle, callback, IntPtr.Zero, ref offer, IntPtr.Zero, ref error), ref error);
            return Native.Public(ref offer);
        }

        public Offer Stage(string from = null)
        {
            var error = Native.NewError();
            var offer = Native.NewOffer();
            Check(Native.lamplighter_stage(handle, Native.Utf8(from), callback, IntPtr.Zero, ref offer, IntPtr.Zero, ref error), ref error);
            return Native.Public(ref offer);
        }

        public Report Commit()
        {
            var error = Native.NewError();
            var report = Native.NewReport();
            Check(Native.lamplighter_commit(handle, callback, IntPtr.Zero, ref report, IntPtr.Zero, ref error), ref error);
            return Native.Public(ref report);
        }

        public Report Rollback()
        {
            var error = Native.NewError();
            var report = Native.NewReport();
            Check(Native.lamplighter_rollback(handle, callback, IntPtr.Zero, ref report, IntPtr.Zero, ref error), ref error);
            return Native.Public(ref report);
        }

        public Start CountStart()
        {
            var error = Native.NewError();
            var start = new Native.Start { size = (uint)Marshal.SizeOf(typeof(Native.Start)) };
            Check(Native.lamplighter_count_start(handle, ref start, ref error), ref error);
            return new Start { Action = (StartAction)start.action, Number = start.start, Max = start.startsMax };
        }

        public void ConfirmHealthy()
        {
            var error = Native.NewError();
            Check(Native.lamplighter_confirm_healthy(handle, ref error), ref error);
        }

        void Check(int status, ref Native.Error error)
        {
            if (thrown != null) {
                var exception = thrown;
                thrown = null;
                ClearCancel();
                throw new InvalidOperationException("the handler of events threw", exception);
            }
            if (status != 0) throw new LamplighterException(ref error);
        }
    }

    static class Native
    {
        internal const uint Abi = 1;
        const string Library = "lamplighter";

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        internal delegate int Callback(IntPtr @event, IntPtr user);

        [StructLayout(LayoutKind.Sequential)]
        internal struct Error
        {
            internal uint size;
            internal int status;
            internal uint mayRetry, reserved;
            [MarshalAs(UnmanagedType.ByValArray, SizeConst = 48)] internal byte[] code;
            [MarshalAs(UnmanagedType.ByValArray, SizeConst = 1024)] internal byte[] message;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Origin
        {
            internal uint size, reserved;
            internal IntPtr site, app, channel, platform, root;
            internal UIntPtr rootLength;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Offer
        {
            internal uint size, state;
            internal ulong build, fromBuild;
            [MarshalAs(UnmanagedType.ByValArray, SizeConst = 264)] internal byte[] version;
            [MarshalAs(UnmanagedType.ByValArray, SizeConst = 32)] internal byte[] reason;
            [MarshalAs(UnmanagedType.ByValArray, SizeConst = 256)] internal byte[] text;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Report
        {
            internal uint size, state;
            internal ulong build, filesWritten, filesRemoved, writtenBytes, receivedBytes, requests, keptAside, leftEdited;
            [MarshalAs(UnmanagedType.ByValArray, SizeConst = 264)] internal byte[] version;
            [MarshalAs(UnmanagedType.ByValArray, SizeConst = 16)] internal byte[] route;
            [MarshalAs(UnmanagedType.ByValArray, SizeConst = 32)] internal byte[] reason;
            [MarshalAs(UnmanagedType.ByValArray, SizeConst = 256)] internal byte[] text;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Tree
        {
            internal uint size, installed;
            internal ulong build, preparedBuild, previousBuild;
            internal uint unfinished, reserved;
            [MarshalAs(UnmanagedType.ByValArray, SizeConst = 264)] internal byte[] version;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Start
        {
            internal uint size, action;
            internal ulong start, startsMax;
        }

        [StructLayout(LayoutKind.Sequential)]
        struct RawEvent
        {
            internal uint size, kind;
            internal ulong doneBytes, totalBytes;
            internal IntPtr phase, code, subject, text, version, installedVersion;
            internal ulong build;
            internal int percent;
            internal uint needsRestart;
            internal IntPtr notes;
        }

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)] internal static extern uint lamplighter_abi_version();
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)] internal static extern IntPtr lamplighter_version();
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)] internal static extern IntPtr lamplighter_platform();
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)] internal static extern int lamplighter_open(byte[] tree, byte[] state, byte[] proxy, out ulong handle, ref Error error);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)] internal static extern void lamplighter_close(ulong handle);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)] internal static extern int lamplighter_cancel(ulong handle);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)] internal static extern int lamplighter_clear_cancel(ulong handle);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)] internal static extern int lamplighter_allow_network_share(ulong handle, uint allowed);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)] internal static extern int lamplighter_install(ulong handle, ref Origin origin, Callback callback, IntPtr user, ref Report report, IntPtr json, ref Error error);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)] internal static extern int lamplighter_check(ulong handle, Callback callback, IntPtr user, ref Offer offer, IntPtr json, ref Error error);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)] internal static extern int lamplighter_stage(ulong handle, byte[] from, Callback callback, IntPtr user, ref Offer offer, IntPtr json, ref Error error);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)] internal static extern int lamplighter_commit(ulong handle, Callback callback, IntPtr user, ref Report report, IntPtr json, ref Error error);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)] internal static extern int lamplighter_rollback(ulong handle, Callback callback, IntPtr user, ref Report report, IntPtr json, ref Error error);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)] internal static extern int lamplighter_confirm_healthy(ulong handle, ref Error error);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)] internal static extern int lamplighter_count_start(ulong handle, ref Start start, ref Error error);
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)] internal static extern int lamplighter_status(ulong handle, ref Tree tree, IntPtr json, ref Error error);

        internal static Error NewError() { return new Error { size = (uint)Marshal.SizeOf(typeof(Error)) }; }
        internal static Offer NewOffer() { return new Offer { size = (uint)Marshal.SizeOf(typeof(Offer)) }; }
        internal static Report NewReport() { return new Report { size = (uint)Marshal.SizeOf(typeof(Report)) }; }

        internal static Lamplighter.Offer Public(ref Offer offer)
        {
            return new Lamplighter.Offer {
                State = (State)offer.state, Build = offer.build, Version = Text(offer.version), Reason = Text(offer.reason),
                Text = Text(offer.text),
            };
        }

        internal static Lamplighter.Report Public(ref Report report)
        {
            return new Lamplighter.Report {
                State = (State)report.state, Build = report.build, FilesWritten = report.filesWritten,
                ReceivedBytes = report.receivedBytes, Version = Text(report.version), Route = Text(report.route),
                Reason = Text(report.reason),
            };
        }

        internal static Event Read(IntPtr pointer)
        {
            var raw = (RawEvent)Marshal.PtrToStructure(pointer, typeof(RawEvent));
            return new Event {
                Kind = (Kind)raw.kind, DoneBytes = raw.doneBytes, TotalBytes = raw.totalBytes, Percent = raw.percent,
                Phase = Text(raw.phase), Code = Text(raw.code), Subject = Text(raw.subject), Text = Text(raw.text),
            };
        }

        // UTF-8 that ends with NUL, whatever the system's own encoding.
        internal static byte[] Utf8(string text) { return text == null ? null : Encoding.UTF8.GetBytes(text + "\0"); }

        internal static string Text(byte[] bytes)
        {
            int end = Array.IndexOf(bytes, (byte)0);
            return Encoding.UTF8.GetString(bytes, 0, end < 0 ? bytes.Length : end);
        }

        internal static string Text(IntPtr pointer)
        {
            int length = 0;
            while (Marshal.ReadByte(pointer, length) != 0) length++;
            var bytes = new byte[length];
            Marshal.Copy(pointer, bytes, 0, length);
            return Encoding.UTF8.GetString(bytes);
        }
    }
}
