// A small launcher in C#: installs the app if it is not there, else updates it, and confirms the new release.
//
// usage: launcher.exe TREE SITE ROOT APP CHANNEL [cancel]
//
// ROOT is a file with the root document. With `cancel` the download is cancelled as soon as it begins, as a user might.
// Ends with the status of the call that failed, or 0.

using System;
using System.IO;
using Lamplighter;

static class Launcher
{
    static int Main(string[] args)
    {
        bool cancel = args.Length > 5 && args[5] == "cancel";
        Console.WriteLine("lamplighter {0} on {1}", Tree.Version, Tree.Platform);
        Tree tree = null;
        try {
            tree = new Tree(args[0], happened => {
                if (happened.Kind == Kind.Started && happened.Phase == "download" && cancel) tree.Cancel();
                else if (happened.Kind == Kind.Advanced && happened.Percent >= 0)
                    Console.WriteLine("  {0}: {1} %", happened.Phase, happened.Percent);
                else if (happened.Kind == Kind.Notice)
                    Console.WriteLine("  {0}: {1} {2}", happened.Code, happened.Subject, happened.Text);
            });
            if (tree.GetStatus().Installed) {
                Update(tree);
            } else {
                Report report = tree.Install(args[1], args[3], args[4], File.ReadAllBytes(args[2]));
                Console.WriteLine("installed {0} (build {1})", report.Version, report.Build);
            }
            Run(tree);
            return 0;
        } catch (LamplighterException error) {
            Console.Error.WriteLine("error {0} {1}: {2}", (int)error.Status, error.Code, error.Message);
            return (int)error.Status;
        } finally {
            if (tree != null) tree.Dispose();
        }
    }

    static void Update(Tree tree)
    {
        Offer offer = tree.Check();
        if (offer.State == State.Nothing) {
            Console.WriteLine("nothing to do: {0}", offer.Reason);
            return;
        }
        Console.WriteLine("available {0} (build {1})", offer.Version, offer.Build);
        // All but the last step; the app may run meanwhile.
        offer = tree.Stage();
        if (offer.State == State.Nothing) {
            Console.WriteLine("nothing to do: {0}", offer.Reason);
            return;
        }
        Console.WriteLine("staged {0} (build {1})", offer.Version, offer.Build);
        // The last step, when the app is closed. Needs no network.
        Report report = tree.Commit();
        Console.WriteLine("updated to {0} (build {1})", report.Version, report.Build);
    }

    // Counts the start, starts the app, and confirms the release once it works.
    static void Run(Tree tree)
    {
        Start start = tree.CountStart();
        if (start.Action == StartAction.GoBack) {
            tree.Rollback();
            Console.WriteLine("went back");
        } else if (start.Action == StartAction.Probation) {
            Console.WriteLine("start {0} of {1}", start.Number, start.Max);
        }
        // Here the app is started, and looked at for a while.
        tree.ConfirmHealthy();
        Console.WriteLine("confirmed");
    }
}
