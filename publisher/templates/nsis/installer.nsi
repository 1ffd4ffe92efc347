; An NSIS installer of @NAME@ @VERSION@ (build @BUILD@): makensis installer.nsi
;
; It installs for one user, without an administrator, below %LOCALAPPDATA%\Programs: updates write into the tree, so it
; must belong to who uses it. Under Program Files every update would ask for an administrator.
; The folder .lamplighter is the signed record of what is installed: the first update goes by pack.
; Sign the programs before they are published, the installer after it was made: what is published never changes.

Unicode true
!define NAME "@NAME@"
!define KEY "Software\Microsoft\Windows\CurrentVersion\Uninstall\@APP@"

Name "${NAME}"
OutFile "${NAME}-@BUILD@-setup.exe"
RequestExecutionLevel user
InstallDir "$LOCALAPPDATA\Programs\${NAME}"
SetCompressor /SOLID lzma

Page instfiles
UninstPage uninstConfirm
UninstPage instfiles

Section
  SetOutPath "$INSTDIR"
  File /r "tree\@NAME@\*.*"
  WriteUninstaller "$LOCALAPPDATA\Programs\${NAME}-uninstall.exe"
  CreateShortcut "$SMPROGRAMS\${NAME}.lnk" "$INSTDIR\@ENTRY_WINDOWS@"
  WriteRegStr HKCU "${KEY}" "DisplayName" "${NAME}"
  WriteRegStr HKCU "${KEY}" "UninstallString" '"$LOCALAPPDATA\Programs\${NAME}-uninstall.exe"'
  WriteRegDWORD HKCU "${KEY}" "EstimatedSize" @SIZE_KIB@
  ; No DisplayVersion: the app updates itself, and nobody would keep it right.
SectionEnd

; The uninstaller lies beside the tree: what is in the tree belongs to its releases. The path is fixed, so that no
; other folder can be named to be removed.
Section "Uninstall"
  RMDir /r "$LOCALAPPDATA\Programs\${NAME}"
  Delete "$SMPROGRAMS\${NAME}.lnk"
  Delete "$LOCALAPPDATA\Programs\${NAME}-uninstall.exe"
  DeleteRegKey HKCU "${KEY}"
SectionEnd
