; An Inno Setup installer of @NAME@ @VERSION@ (build @BUILD@): iscc installer.iss
;
; It installs for one user, without an administrator: updates write into the tree, so it must belong to who uses it. Under
; Program Files every update would ask for an administrator. The folder .lamplighter is the signed record of what is
; installed: the first update goes by pack. Sign the programs before they are published, the installer after it was made.

[Setup]
AppId=@APP@
AppName=@NAME@
AppVersion=@VERSION@
AppVerName=@NAME@
DefaultDirName={localappdata}\Programs\@NAME@
DisableDirPage=yes
DisableProgramGroupPage=yes
PrivilegesRequired=lowest
OutputBaseFilename=@PACKAGE@-@BUILD@-setup
; The uninstaller lies beside the tree: what is in the tree belongs to its releases.
UninstallFilesDir={localappdata}\Programs\@NAME@-uninstall
Compression=lzma2
SolidCompression=yes

[Files]
Source: "tree\@NAME@\*"; DestDir: "{app}"; Flags: recursesubdirs createallsubdirs ignoreversion

[Icons]
Name: "{autoprograms}\@NAME@"; Filename: "{app}\@ENTRY_WINDOWS@"

[UninstallDelete]
; Updates bring files that this script does not know.
Type: filesandordirs; Name: "{app}"
